//! The power goes: nothing that was acknowledged is lost, and everything answers as before.

use serde_json::{Value, json};

use super::person::{Person, secret_of};
use super::{a_call_of_billing, billing};
use crate::harness::{Credential, Server};
use crate::on_both_databases;

/// All that a person can ask of the server.
fn everything(admin: &Person, credentials: &[&Credential]) -> Value {
    let keys = admin.pages("KeyAdmin/ListKeys", "keys", &json!({"pageSize": 2})).concat();
    let answers: Vec<Value> = credentials
        .iter()
        .map(|credential| admin.verifies(credential, &a_call_of_billing()))
        .collect();
    json!({"keys": keys, "log": admin.reads_the_log(), "answers": answers})
}

on_both_databases! {
    async fn kill_9_and_a_restart_lose_nothing(db: Database) {
        let mut server = Server::start(db).await;
        let admin = Person::admin_of(&server);
        let (kept, revoked, rotated) =
            (admin.creates(&billing()), admin.creates(&billing()), admin.creates(&billing()));
        admin.call("KeyAdmin/RevokeKey",
                   &json!({"keyId": revoked.key_id, "reason": "REVOKE_REASON_COMPROMISED"}));
        let rotate = json!({"keyId": rotated.key_id, "overlap": "3600s"});
        let newer = secret_of(&admin.call("KeyAdmin/RotateKey", &rotate));
        let all = [&kept, &revoked, &rotated, &newer];
        let before = everything(&admin, &all);
        // The last change before the end, acknowledged a moment ago.
        let last = admin.creates(&billing());
        server.kill9();

        let server = server.restart().await;
        let admin = Person::admin_of(&server);
        admin.is_allowed(&last, &a_call_of_billing());
        let mut after = everything(&admin, &all);
        for list in ["keys", "log"] {
            let newest = after[list].as_array_mut().and_then(Vec::pop).expect("it is listed");
            assert_eq!(newest["keyId"], last.key_id.as_str());
        }
        assert_eq!(after, before);
    }

    async fn a_watch_goes_on_after_a_restart_where_it_was(db: Database) {
        let mut server = Server::start(db).await;
        let admin = Person::admin_of(&server);
        let watching = admin.watches(&json!({}));
        watching.is_live();
        admin.creates(&billing());
        let cursor = watching.next_event()["cursor"].clone();
        let missed = admin.creates(&billing());
        server.kill9();

        let server = server.restart().await;
        let admin = Person::admin_of(&server);
        let resumed = admin.watches(&json!({ "cursor": cursor }));
        assert_eq!(resumed.next_event()["keyId"], missed.key_id.as_str());
        resumed.is_live();
        let live = admin.creates(&billing());
        assert_eq!(resumed.next_event()["keyId"], live.key_id.as_str());
    }
}
