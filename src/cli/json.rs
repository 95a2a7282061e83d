//! Replies as canonical proto JSON, for scripts.

use std::sync::OnceLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use super::failure::Failure;
use super::output;
use crate::rpc::proto::FILE_DESCRIPTOR_SET;

/// Prints a message on one line, fields with default values too: a script that reads `.allowed` finds
/// `false`. `name` is the message's name in `countersign.v1`.
pub(super) fn print(name: &str, message: &impl Message) -> Result<(), Failure> {
    Ok(output::line(&of(name, message)?)?)
}

fn of(name: &str, message: &impl Message) -> Result<String, Failure> {
    let broken =
        |error: &dyn std::fmt::Display| Failure::Said(format!("can't write {name}: {error}"));
    let pool = pool().ok_or_else(|| broken(&"the descriptors can't be read"))?;
    let descriptor = pool.get_message_by_name(&format!("countersign.v1.{name}"));
    let descriptor = descriptor.ok_or_else(|| broken(&"no such message"))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .map_err(|error| broken(&error))?;
    let mut json = Vec::new();
    let options = SerializeOptions::new().skip_default_fields(false);
    dynamic
        .serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options)
        .map_err(|error| broken(&error))?;
    String::from_utf8(json).map_err(|error| broken(&error))
}

fn pool() -> Option<&'static DescriptorPool> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).ok()).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::proto::{Environment, Key, VerifyResponse};

    #[test]
    fn it_is_the_json_of_the_contract() {
        let key = Key {
            key_id: "csk_live_x".to_owned(),
            environment: Environment::Live.into(),
            expire_time: Some(prost_types::Timestamp { seconds: 1_893_456_000, nanos: 0 }),
            ..Key::default()
        };
        let json: serde_json::Value =
            serde_json::from_str(&of("Key", &key).expect("written")).expect("JSON");
        assert_eq!(json["keyId"], "csk_live_x");
        assert_eq!(json["environment"], "ENVIRONMENT_LIVE");
        assert_eq!(json["expireTime"], "2030-01-01T00:00:00Z");
        assert_eq!(json["scopes"], serde_json::json!([]));
    }

    #[test]
    fn a_no_is_said_in_words() {
        let json = of("VerifyResponse", &VerifyResponse::default()).expect("written");
        assert!(json.contains("\"allowed\":false"), "{json}");
    }
}
