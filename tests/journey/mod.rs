//! The whole journey, as a person with real grpcurl makes it: from an empty folder to a key that was
//! issued, verified, rotated, switched off and on, killed and removed, with everything in the log,
//! and nothing lost when the power goes.

mod denials;
mod lists;
pub(crate) mod person;
mod restart;
mod start;
mod watching;

use serde_json::{Value, json};

use crate::harness::Server;
use crate::on_both_databases;
use person::{Person, secret_of};

/// A key as the journey creates it.
fn billing() -> Value {
    json!({
        "accountId": "acme", "applicationId": "billing", "environment": "ENVIRONMENT_LIVE",
        "displayName": "billing, nightly", "scopes": ["transactions:read", "invoices:*"],
        "allowedCidrs": ["203.0.113.0/24"],
    })
}

/// What billing's calls need, from an address that the key may be used from.
fn a_call_of_billing() -> Value {
    json!({"requiredScopes": ["transactions:read", "invoices:archive"], "clientIp": "203.0.113.7"})
}

on_both_databases! {
    async fn grpcurl_finds_everything_by_reflection(db: Database) {
        let server = Server::start(db).await;
        let person = Person::anonymous(&server);

        let services = person.asks(&["list"]);
        for service in [
            "countersign.v1.KeyAdmin", "countersign.v1.KeyVerifier", "envoy.service.auth.v3.Authorization",
            "grpc.health.v1.Health",
        ] {
            assert!(services.lines().any(|line| line == service), "{service} is not in\n{services}");
        }
        let methods = person.asks(&["list", "countersign.v1.KeyAdmin"]);
        assert_eq!(methods.lines().count(), 13, "{methods}");
        let service = person.asks(&["describe", "countersign.v1.KeyVerifier"]);
        assert!(service.contains("// Never let a caller in on an error"), "{service}");
        let key = person.asks(&["describe", "countersign.v1.Key"]);
        assert!(key.contains("// What the key may do, e.g. \"transactions:read\""), "{key}");
        let reasons = person.asks(&["describe", "countersign.v1.DenialReason"]);
        assert!(reasons.contains("HTTP 403"), "{reasons}");
    }

    async fn a_key_lives_from_its_creation_to_its_deletion(db: Database) {
        let server = Server::start(db).await;
        let admin = Person::admin_of(&server);

        // The secret is seen once.
        let first = admin.creates(&billing());
        let id = json!({"keyId": first.key_id});
        let read = admin.call("KeyAdmin/GetKey", &id).to_string();
        let listed = admin.call("KeyAdmin/ListKeys", &json!({})).to_string();
        for reply in [&read, &listed] {
            assert!(reply.contains(&first.key_id), "the key is not shown");
            assert!(!reply.contains("css_"), "a secret is shown again");
        }

        // It opens what it was made for.
        let answer = admin.is_allowed(&first, &a_call_of_billing());
        assert_eq!(answer["key"]["accountId"], "acme");
        assert_eq!(answer["key"]["secretNumber"], 1);
        assert_eq!(answer.get("supersededTime"), None);

        // Rotated with an overlap, both secrets pass, and the old one says that it was replaced.
        let rotate = json!({"keyId": first.key_id, "overlap": "3600s"});
        let second = secret_of(&admin.call("KeyAdmin/RotateKey", &rotate));
        assert_eq!(second.key_id, first.key_id);
        let old = admin.is_allowed(&first, &a_call_of_billing());
        assert!(old["supersededTime"].is_string(), "{old}");
        let new = admin.is_allowed(&second, &a_call_of_billing());
        assert_eq!((&new["key"]["secretNumber"], new.get("supersededTime")), (&json!(2), None));

        // The old one dies at once when it is expired; the new one goes on.
        admin.call("KeyAdmin/ExpireSecret", &json!({"keyId": first.key_id, "number": 1}));
        assert_eq!(admin.is_denied(&first, &a_call_of_billing()), "SECRET_EXPIRED");
        admin.is_allowed(&second, &a_call_of_billing());

        // Off, and on again.
        admin.call("KeyAdmin/DisableKey", &json!({"keyId": first.key_id, "comment": "an incident"}));
        assert_eq!(admin.is_denied(&second, &a_call_of_billing()), "DISABLED");
        admin.call("KeyAdmin/EnableKey", &id);
        admin.is_allowed(&second, &a_call_of_billing());

        // Dead for ever.
        let revoke = json!({"keyId": first.key_id, "reason": "REVOKE_REASON_COMPROMISED"});
        admin.call("KeyAdmin/RevokeKey", &revoke);
        assert_eq!(admin.is_denied(&second, &a_call_of_billing()), "REVOKED");
        let refusal = admin.is_refused("KeyAdmin/EnableKey", &id);
        assert!(refusal.contains("Code: FailedPrecondition"), "{refusal}");

        // And gone, but for its history.
        admin.call("KeyAdmin/DeleteKey", &id);
        assert_eq!(admin.is_denied(&second, &a_call_of_billing()), "INVALID_CREDENTIAL");
        let refusal = admin.is_refused("KeyAdmin/GetKey", &id);
        assert!(refusal.contains("Code: NotFound"), "{refusal}");
        let log = admin.reads_the_log();
        let of_the_key = log.iter().filter(|event| event["keyId"] == first.key_id.as_str());
        let types: Vec<&str> = of_the_key.filter_map(|event| event["type"].as_str()).collect();
        let life = ["CREATED", "ROTATED", "SECRET_EXPIRED", "DISABLED", "ENABLED", "REVOKED", "DELETED"];
        assert_eq!(types, life.map(|event| format!("TYPE_KEY_{event}")));
        assert!(!json!(log).to_string().contains("css_"), "a secret is in the log");
    }
}
