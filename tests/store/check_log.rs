//! What was done to the log is found (P15).

use super::bench::*;
use crate::on_both_databases;

/// A store with a history of 21 events over 10 keys, one of them deleted.
async fn with_history(db: crate::harness::Database) -> Bench {
    let bench = Bench::new(db).await;
    for number in 0..10 {
        let id = format!("k{number}");
        create(&bench.store, &id).await.expect("creates");
        rename(&bench.store, &id, "renamed").await.expect("renames");
    }
    delete(&bench.store, "k9").await.expect("deletes");
    let report = bench.store.check_log().await.expect("can be checked");
    assert_eq!((report.events, report.faults), (21, vec![]));
    bench
}

async fn faults_after(bench: &Bench, sql: &str) -> Vec<String> {
    bench.sql(sql).await;
    bench.store.check_log().await.expect("can be checked").faults
}

fn assert_found(faults: &[String], what: &str) {
    assert!(faults.iter().any(|fault| fault.contains(what)), "{what:?} is not in {faults:?}");
}

on_both_databases! {
    async fn an_empty_log_is_right(db: Database) {
        let bench = Bench::new(db).await;
        let report = bench.store.check_log().await.expect("can be checked");
        assert_eq!((report.events, report.faults), (0, vec![]));
        let empty = countersign::domain::tree::root(0, &Default::default());
        assert_eq!(Ok(report.root), empty);
    }

    async fn a_changed_event_is_found(db: Database) {
        let bench = with_history(db).await;
        let sql = "UPDATE audit_events SET canonical = replace(canonical, 'renamed', 'remaned') WHERE revision = 4";
        let faults = faults_after(&bench, sql).await;
        assert_found(&faults, "event 4: its text does not fit its leaf hash");
        assert_found(&faults, "does not fit event 4");
    }

    async fn a_changed_column_is_found(db: Database) {
        let bench = with_history(db).await;
        let faults = faults_after(&bench, "UPDATE audit_events SET actor = 'somebody' WHERE revision = 4").await;
        assert_eq!(faults, ["event 4: its columns do not fit its text"]);
    }

    async fn a_removed_event_is_found(db: Database) {
        let bench = with_history(db).await;
        assert_eq!(faults_after(&bench, "DELETE FROM audit_events WHERE revision = 7").await, ["event 7 is missing"]);
    }

    async fn a_log_that_was_cut_off_is_found_by_what_is_left(db: Database) {
        let bench = with_history(db).await;
        let faults = faults_after(&bench, "DELETE FROM audit_events WHERE revision > 19").await;
        assert_found(&faults, "the end of the log was cut off");
    }

    async fn events_in_another_order_are_found(db: Database) {
        let bench = with_history(db).await;
        let faults = faults_after(
            &bench,
            "UPDATE audit_events SET revision = 1000 WHERE revision = 4; \
             UPDATE audit_events SET revision = 4 WHERE revision = 6; \
             UPDATE audit_events SET revision = 6 WHERE revision = 1000",
        );
        let faults = faults.await;
        for event in [4, 6] {
            assert_found(&faults, &format!("event {event}: its text is not that of this event"));
        }
    }

    async fn a_changed_tree_hash_is_found(db: Database) {
        let bench = with_history(db).await;
        let sql = "UPDATE tree_hashes SET hash = (SELECT hash FROM tree_hashes AS other WHERE other.position = 0) \
                   WHERE position = 2";
        assert_found(&faults_after(&bench, sql).await, "tree hash 2 does not fit");
        let bench = with_history(db).await;
        assert_found(&faults_after(&bench, "DELETE FROM tree_hashes WHERE position = 5").await, "tree hash 5 is missing");
    }

    async fn an_old_row_put_back_is_found(db: Database) {
        let bench = with_history(db).await;
        bench.sql("CREATE TABLE old AS SELECT * FROM keys WHERE key_id = 'k3'").await;
        rename(&bench.store, "k3", "once more").await.expect("renames");
        let faults = faults_after(
            &bench,
            "UPDATE keys SET seal = old.seal, revision = old.revision, display_name = old.display_name, \
             update_time = old.update_time FROM old WHERE keys.key_id = 'k3'",
        );
        assert_eq!(
            faults.await,
            [
                "key k3: its record is not that of its row",
                "key k3: its row is not the one that its last event sealed"
            ]
        );
        assert!(bench.key("k3").await.is_some(), "its own seal fits, so only the check finds it");
    }

    async fn a_lost_row_is_found(db: Database) {
        let bench = with_history(db).await;
        assert_eq!(
            faults_after(&bench, "DELETE FROM keys WHERE key_id = 'k3'").await,
            ["key k3: its row is gone, and no event says that it was deleted"]
        );
    }

    async fn a_record_that_is_not_that_of_its_row_is_found(db: Database) {
        let bench = with_history(db).await;
        bench.sql("CREATE TABLE old AS SELECT * FROM key_records WHERE key_id = 'k3'").await;
        rename(&bench.store, "k3", "once more").await.expect("renames");
        bench.sql("UPDATE key_records SET record = old.record, seal = old.seal FROM old WHERE key_records.key_id = 'k3'").await;
        let faults = faults_after(&bench, "DELETE FROM key_records WHERE key_id = 'k4'").await;
        assert_eq!(faults, ["key k3: its record is not that of its row", "key k4 has no record"]);
        // A change writes the record anew.
        for id in ["k3", "k4"] {
            rename(&bench.store, id, "and again").await.expect("renames");
        }
        bench.assert_log_is_right().await;
    }

    async fn a_long_log_is_checked_in_pieces(db: Database) {
        let bench = Bench::new(db).await;
        let now = countersign::domain::Timestamp::default();
        for batch in 0..3 {
            let keys = (0..777).map(|number| {
                let key = new_key(&format!("b{batch}-{number:03}"), acme(), now);
                let event = event(countersign::domain::audit::EventType::KeyCreated, None, Some(&key));
                (key, event)
            });
            let last = bench.store.insert_many(keys.collect()).await.expect("inserts");
            assert_eq!(last, (batch + 1) * 777);
        }
        create(&bench.store, "one-more").await.expect("creates");
        let report = bench.store.check_log().await.expect("can be checked");
        assert_eq!((report.events, report.faults), (3 * 777 + 1, vec![]));
        let faults = faults_after(&bench, "DELETE FROM audit_events WHERE revision = 2000").await;
        assert_eq!(faults[..1], ["event 2000 is missing"]);
        assert_eq!(faults[1..], ["key b2-445 has no event"]);
    }
}
