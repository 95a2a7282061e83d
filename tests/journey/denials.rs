//! Denied, and for the right reason in each case; and errors that say what to do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::person::Person;
use super::{a_call_of_billing, billing};
use crate::harness::{Credential, Server, eventually};
use crate::on_both_databases;

const SOON: Duration = Duration::from_secs(30);

/// The secret with its last character changed: the checksum no longer fits.
fn mistyped(credential: &Credential) -> Credential {
    let mut secret = credential.secret.clone();
    let last = secret.pop().expect("a secret is not empty");
    secret.push(if last == '0' { '1' } else { '0' });
    Credential { secret, ..credential.clone() }
}

on_both_databases! {
    async fn each_denial_names_its_reason(db: Database) {
        let server = Server::start(db).await;
        let admin = Person::admin_of(&server);
        let key = admin.creates(&billing());
        let stranger = admin.creates(&billing());
        let unknown = Credential { key_id: stranger.key_id.clone(), ..key.clone() };
        let nobody = Credential { key_id: "csk_live_0000000000000000000000".to_owned(), ..key.clone() };
        let half = Credential { secret: String::new(), ..key.clone() };
        let call = a_call_of_billing;
        let with = |field: &str, value: &str| {
            let mut call = call();
            call[field] = json!(value);
            call
        };

        assert_eq!(admin.is_denied(&half, &call()), "MISSING");
        assert_eq!(admin.is_denied(&mistyped(&key), &call()), "MALFORMED");
        assert_eq!(admin.is_denied(&unknown, &call()), "INVALID_CREDENTIAL");
        assert_eq!(admin.is_denied(&nobody, &call()), "INVALID_CREDENTIAL");
        let test = with("environment", "ENVIRONMENT_TEST");
        assert_eq!(admin.is_denied(&key, &test), "ENVIRONMENT_MISMATCH");
        assert_eq!(admin.is_denied(&key, &with("accountId", "globex")), "ACCOUNT_MISMATCH");
        assert_eq!(admin.is_denied(&key, &with("applicationId", "crm")), "APPLICATION_MISMATCH");
        assert_eq!(admin.is_denied(&key, &with("clientIp", "198.51.100.7")), "IP_NOT_ALLOWED");
        assert_eq!(admin.is_denied(&key, &json!({})), "IP_NOT_ALLOWED");
        let write = json!({"requiredScopes": ["transactions:write"], "clientIp": "203.0.113.7"});
        assert_eq!(admin.is_denied(&key, &write), "SCOPE_MISSING");
        assert_eq!(admin.verifies(&key, &write)["missingScopes"], json!(["transactions:write"]));
        admin.is_allowed(&key, &call());
    }

    async fn a_key_is_denied_from_its_expiry_on(db: Database) {
        let server = Server::start(db).await;
        let admin = Person::admin_of(&server);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is past 1970").as_secs();
        let mut key = billing();
        key["expireTime"] = json!(rfc3339(now + 2));
        let key = admin.creates(&key);
        eventually("the key expires", SOON, async || {
            let answer = admin.verifies(&key, &a_call_of_billing());
            answer["denialReason"] == "DENIAL_REASON_EXPIRED"
        })
        .await;
    }

    async fn nothing_is_said_of_a_key_before_its_secret_is_proven(db: Database) {
        let server = Server::start(db).await;
        let admin = Person::admin_of(&server);
        let (key, other) = (admin.creates(&billing()), admin.creates(&billing()));
        let wrong = Credential { secret: other.secret.clone(), ..key.clone() };

        assert_eq!(admin.verifies(&wrong, &json!({"explain": true})),
                   json!({"denialReason": "DENIAL_REASON_INVALID_CREDENTIAL"}));
        let proven = admin.verifies(&key, &json!({"explain": true}));
        assert_eq!(proven["key"]["keyId"], key.key_id.as_str());
        let failed = proven["checks"].as_array().expect("explained").iter();
        let failed: Vec<_> = failed.filter(|check| check.get("passed").is_none()).collect();
        assert_eq!(failed, [&json!({"check": "DENIAL_REASON_IP_NOT_ALLOWED"})]);
    }

    async fn a_malformed_request_is_an_error_that_names_every_field(db: Database) {
        let server = Server::start(db).await;
        let admin = Person::admin_of(&server);
        let bad = json!({"key": {"accountId": "a b", "scopes": ["NO"], "allowedCidrs": ["10.0.0.0/99"]}});

        let complaint = admin.is_refused("KeyAdmin/CreateKey", &bad);
        assert!(complaint.contains("Code: InvalidArgument"), "{complaint}");
        // Read by reflection: the fields stand there in words, not in base64.
        for field in ["key.account_id", "key.application_id", "key.environment", "key.display_name",
                      "key.scopes[0]", "key.allowed_cidrs[0]"] {
            assert!(complaint.contains(&format!("\"field\":\"{field}\"")), "no {field} in {complaint}");
        }
        let anonymous = Person::anonymous(&server).is_refused("KeyAdmin/ListKeys", &json!({}));
        assert!(anonymous.contains("Code: Unauthenticated"), "{anonymous}");
    }
}

/// Seconds since the Unix epoch as a time, by way of the JSON of a protobuf timestamp.
fn rfc3339(seconds: u64) -> String {
    let micros = i64::try_from(seconds * 1_000_000).expect("in range");
    countersign::domain::Timestamp::from_micros(micros).expect("in range").to_string()
}
