//! Promise P17: replicas that migrate at the same time, and releases beside one another.

use futures::future::join_all;
use sea_orm::{ConnectionTrait as _, Database, Statement};

use super::{SOON, mint};
use crate::harness::replicas::Told;
use crate::harness::{Replicas, Store};

const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_that_migrate_at_once_one_applies_and_all_serve() {
    let store = Store::with_root_key().await;
    let migrating = (0..AT_ONCE).map(|_| {
        let program = store.command(["migrate"]);
        tokio::task::spawn_blocking(move || program.run())
    });
    for migrated in join_all(migrating).await {
        migrated.expect("no panic").succeeded();
    }
    let around = Database::connect(store.url.as_deref().expect("on PostgreSQL")).await.unwrap();
    let applied = "SELECT count(*), count(DISTINCT version) FROM seaql_migrations";
    let applied = Statement::from_string(around.get_database_backend(), applied);
    let row = around.query_one_raw(applied).await.unwrap().expect("a row");
    let number = |index| row.try_get_by_index::<i64>(index).expect("a number");
    assert!(number(0) >= 2, "there are migrations");
    assert_eq!(number(0), number(1), "each was applied once");

    let replicas = Replicas::on(store.bootstrapped(), 2, Told::default()).await;
    let good = mint(&replicas[0].caller(), 1).await.remove(0);
    replicas.all_allow(&good, SOON).await;
}
