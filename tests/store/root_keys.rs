//! A newer root key comes into use when every replica holds it.

use std::sync::Arc;
use std::time::Duration;

use countersign::domain::random::OsRandom;
use countersign::domain::replica::ReplicaRow;
use countersign::store::{Settings, Store, migrate};

use super::bench::*;
use crate::harness::Database;
use crate::on_both_databases;

fn holding(id: &str, root_key_versions: &[u32]) -> ReplicaRow {
    ReplicaRow {
        id: id.to_owned(),
        lease_ms: 30_000,
        applied: 0,
        beat: 1,
        beat_age: Duration::ZERO,
        version: "0.1.0".to_owned(),
        reads_up_to: 2,
        root_key_versions: root_key_versions.to_vec(),
    }
}

async fn open_with(settings: &Settings, lines: &[&str]) -> Store {
    let root = keyring(&lines.join("\n"));
    Store::open(settings, root, Arc::new(OsRandom)).await.expect("opens")
}

/// The version of the root key that a key's row is sealed with: bytes 2 to 5 of the seal.
async fn sealed_with(bench: &Bench, id: &str) -> String {
    let hex = match bench.is_sqlite() {
        true => "hex(substr(seal, 2, 4))",
        false => "encode(substr(seal, 2, 4), 'hex')",
    };
    bench.texts(&format!("SELECT {hex} FROM keys WHERE key_id = '{id}'")).await.remove(0)
}

const ONE: &str = "00000001";
const TWO: &str = "00000002";

on_both_databases! {
    async fn where_nobody_else_is_the_newest_is_used(db: Database) {
        let bench = Bench::new(db).await;
        create(&bench.store, "k1").await.expect("creates");
        assert_eq!(sealed_with(&bench, "k1").await, ONE);
        let store = open_with(&bench.settings, &[bench.root_key(), &new_root_key(2)]).await;
        assert_eq!(store.root_key_versions(), [1, 2]);
        rename(&store, "k1", "changed").await.expect("changes");
        assert_eq!(sealed_with(&bench, "k1").await, TWO);
        assert!(store.get_key("k1").await.expect("fits").is_some());
    }
}

#[tokio::test]
async fn a_newer_root_key_waits_until_every_replica_holds_it() {
    let bench = Bench::new(Database::Postgres).await;
    let store = open_with(&bench.settings, &[bench.root_key(), &new_root_key(2)]).await;
    store.register(&holding("new", &[1, 2])).await.expect("registers");
    store.register(&holding("old", &[1])).await.expect("registers");
    create(&store, "k1").await.expect("creates");
    assert_eq!(sealed_with(&bench, "k1").await, ONE, "one holds only the older");
    let read = bench.store.get_key("k1").await;
    assert!(read.expect("whoever holds only the older can read it").is_some());

    store.deregister("old").await.expect("is gone");
    rename(&store, "k1", "changed").await.expect("changes");
    assert_eq!(sealed_with(&bench, "k1").await, TWO);

    store.register(&holding("old", &[1])).await.expect("comes back");
    rename(&store, "k1", "changed again").await.expect("changes");
    assert_eq!(sealed_with(&bench, "k1").await, ONE);
    store
        .register(&ReplicaRow { beat: 2, ..holding("old", &[1, 2, 3]) })
        .await
        .expect("is updated");
    rename(&store, "k1", "changed once more").await.expect("changes");
    assert_eq!(sealed_with(&bench, "k1").await, TWO);

    // What no two of them share is nobody's fault here; the older can at least be read by more.
    store.register(&holding("stranger", &[9])).await.expect("registers");
    rename(&store, "k1", "and again").await.expect("changes");
    assert_eq!(sealed_with(&bench, "k1").await, ONE);
}

#[tokio::test]
async fn the_data_key_too_is_wrapped_for_every_replica() {
    let settings = unprepared(Database::Postgres).await;
    migrate(&settings).await.expect("migrates");
    let around = raw(&settings).await;
    let row = "INSERT INTO replicas VALUES ('old', 30000, 0, 1, 0, 0, '0.1.0', 2, '1')";
    sea_orm::ConnectionTrait::execute_unprepared(&around, row).await.expect("inserts");
    let (first, second) = (new_root_key(1), new_root_key(2));
    open_with(&settings, &[&first, &second]).await;
    // Whoever holds only the older opens it.
    open_with(&settings, &[&first]).await;
}
