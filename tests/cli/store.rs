//! `countersign store accept`, beside a running server.

use std::time::Duration;

use super::one_line_of_failure;
use crate::harness::{Database, Server, canary, eventually, key, run, tools};
use crate::on_both_databases;

const PATIENCE: Duration = Duration::from_secs(30);

on_both_databases! {
    async fn a_new_epoch_is_accepted_only_on_request_and_a_running_server_goes_on_in_it(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        admin.mint(key("acme", "billing")).await;
        let store = server.store();

        let asked = store.command(["store", "accept"]).run().failed();
        assert_eq!(asked.status.code(), Some(2));
        assert!(asked.stdout.contains("epoch        1\n"), "{}", asked.stdout);
        assert!(asked.stdout.contains("last change  revision 2 of "), "{}", asked.stdout);
        assert!(asked.stdout.contains("to accept    epoch 2 "), "{}", asked.stdout);
        assert!(asked.stderr.starts_with("countersign: nothing was changed; "), "{}", asked.stderr);
        assert!(asked.stderr.contains("--yes") && asked.stderr.lines().count() == 1, "{}", asked.stderr);
        for bad in ["0", "4", "5000"] {
            let refused = store.command(["store", "accept", "--yes", "--lost-from", bad]).run();
            let line = one_line_of_failure(&refused);
            assert!(line.starts_with(&format!("--lost-from {bad} can't be ")), "{line}");
            assert!(line.contains("from 1 to 3,") && line.ends_with("nothing was changed"), "{line}");
        }
        assert_eq!(admin.events("type = STORE_EPOCH_ACCEPTED").await.expect("lists").len(), 0);

        let done = store.command(["store", "accept", "--yes"]).run().succeeded();
        assert!(done.stdout.ends_with("accepted     epoch 2 begins with revision 3\n"), "{}", done.stdout);
        assert_eq!(done.stderr, "");
        let events = admin.events("type = STORE_EPOCH_ACCEPTED").await.expect("lists");
        let [event] = &events[..] else { panic!("one event: {events:?}") };
        assert_eq!((event.revision, event.account_id.as_str(), event.key_id.as_str()), (3, "countersign", ""));
        eventually("the server makes keys in the new epoch", PATIENCE, async || {
            admin.try_mint(key("acme", "shipping")).await.is_ok()
        })
        .await;
        let checked = store.command(["audit", "check"]).run().succeeded();
        assert!(checked.stdout.contains("faults     0\n"), "{}", checked.stdout);
    }
}

#[tokio::test]
async fn an_epoch_is_not_accepted_without_the_root_key() {
    let server = Server::start(Database::Postgres).await;
    let url = server.store().url.clone().expect("PostgreSQL has a URL");
    let other = run::new_data_dir(&run::unique_name()).join("root-key");
    let made = tools::countersign().args(["root-key", "generate"]).run().succeeded();
    run::write_private(&other, &made.stdout);
    canary::record_root_key_file(&other);
    let program = tools::countersign()
        .args(["store", "accept", "--yes", "--database-url", &url, "--root-key-file"])
        .arg(&other);
    let refused = program.run().failed();
    assert!(refused.stderr.contains("is not the root key of this database"), "{}", refused.stderr);
    assert_eq!(refused.stdout, "");
    let admin = server.as_admin().await;
    assert_eq!(admin.events("type = STORE_EPOCH_ACCEPTED").await.expect("lists").len(), 0);
}
