//! Update masks: which fields of a key are to change.

use super::time;
use crate::domain::Violation;
use crate::domain::draft::PatchDraft;
use crate::rpc::proto;

const FIELD: &str = "update_mask";
const MUTABLE: &str = "display_name, description, scopes, allowed_cidrs, labels, expire_time";

/// The fields of `key` that the mask names, with what is wrong with the mask.
pub(super) fn patch(
    key: &proto::Key,
    mask: Option<&prost_types::FieldMask>,
) -> (PatchDraft, Vec<Violation>) {
    let (mut patch, mut violations) = (PatchDraft::default(), Vec::new());
    let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
    if paths.is_empty() {
        violations.push(Violation::new(FIELD, format!("must name at least one of {MUTABLE}")));
    }
    for path in paths {
        if let Err(violation) = name(path, key, &mut patch) {
            // A path that stands there twice is wrong once.
            if !violations.contains(&violation) {
                violations.push(violation);
            }
        }
    }
    (patch, violations)
}

fn name(path: &str, key: &proto::Key, patch: &mut PatchDraft) -> Result<(), Violation> {
    match path {
        "display_name" => patch.display_name = Some(key.display_name.clone()),
        "description" => patch.description = Some(key.description.clone()),
        "scopes" => patch.scopes = Some(key.scopes.clone()),
        "allowed_cidrs" => patch.allowed_cidrs = Some(key.allowed_cidrs.clone()),
        "labels" => patch.labels = Some(key.labels.clone()),
        "expire_time" => {
            let read = key.expire_time.map(|time| time::from_proto("key.expire_time", time));
            patch.expire_time = Some(read.transpose()?);
        }
        "key_id" | "account_id" | "application_id" | "environment" => {
            return Err(Violation::new(FIELD, format!("{path} is immutable")));
        }
        "state" | "revoke_reason" | "create_time" | "update_time" | "creator" | "secrets"
        | "etag" => {
            return Err(Violation::new(FIELD, format!("{path} is output only")));
        }
        "*" => {
            return Err(Violation::new(
                FIELD,
                format!("\"*\" is not supported; name fields of {MUTABLE}"),
            ));
        }
        _ => {
            let beginning: String = path.chars().take(64).collect();
            let unknown =
                format!("{beginning:?} is no field that can be changed; these are {MUTABLE}");
            return Err(Violation::new(FIELD, unknown));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(paths: &[&str]) -> (PatchDraft, Vec<Violation>) {
        let key = proto::Key { display_name: "new".to_owned(), ..proto::Key::default() };
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        patch(&key, Some(&prost_types::FieldMask { paths }))
    }

    fn complaint(path: &str) -> String {
        let (_, violations) = with(&["display_name", path, path]);
        assert_eq!(violations.len(), 1, "{path}");
        assert_eq!(violations[0].field, "update_mask");
        violations[0].description.clone()
    }

    #[test]
    fn a_mask_must_be_there_and_name_something() {
        assert_eq!(patch(&proto::Key::default(), None).1.len(), 1);
        assert_eq!(with(&[]).1.len(), 1);
    }

    #[test]
    fn only_named_fields_change_and_an_empty_one_is_cleared() {
        let (patch, violations) = with(&["display_name", "labels", "expire_time", "display_name"]);
        assert!(violations.is_empty());
        assert_eq!(patch.display_name.as_deref(), Some("new"));
        assert_eq!(patch.labels, Some(Default::default()));
        assert_eq!(patch.expire_time, Some(None));
        assert!(
            patch.description.is_none() && patch.scopes.is_none() && patch.allowed_cidrs.is_none()
        );
    }

    #[test]
    fn every_field_of_a_key_is_mutable_immutable_or_output_only() {
        let pool =
            prost_reflect::DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET).expect("descriptors");
        let key = pool.get_message_by_name("countersign.v1.Key").expect("Key");
        for field in key.fields() {
            let (_, violations) = with(&[field.name()]);
            let known = violations.iter().all(|one| !one.description.contains("is no field"));
            assert!(known, "{} is in neither list", field.name());
        }
    }

    #[test]
    fn a_wrong_path_is_named() {
        assert_eq!(complaint("account_id"), "account_id is immutable");
        assert_eq!(complaint("etag"), "etag is output only");
        assert!(complaint("*").starts_with("\"*\" is not supported"));
        assert!(complaint("labels.team").starts_with("\"labels.team\" is no field"));
        assert!(complaint("").starts_with("\"\" is no field"));
        assert!(complaint(&"\u{7}".repeat(9_999)).len() < 1_000);
    }
}
