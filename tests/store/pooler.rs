//! Behind a transaction pooler, which hands a session to another client between two transactions: everything works, and
//! nobody gets what another prepared.

use std::sync::Arc;
use std::time::Duration;

use countersign::domain::random::OsRandom;
use countersign::domain::verdict::IndexChange;
use countersign::store::{DatabaseUrl, KeyOrder, KeyQuery, KeySort, Settings, Store, migrate};
use tokio::task::JoinSet;

use super::bench::*;
use crate::harness::following::replica_row;
use crate::harness::{Pooler, postgres};

const LEASE: Duration = Duration::from_secs(30);

/// A new store that is reached by way of a pooler alone, and several processes on it.
async fn pooled(processes: usize) -> (Vec<Store>, Pooler) {
    let pooler = Pooler::before(&postgres::new_database().await).await;
    let settings = Settings::new(DatabaseUrl::parse(pooler.url()).expect("a URL"));
    migrate(&settings).await.expect("migrates");
    let root_key = new_root_key(1);
    let mut stores = Vec::new();
    for _ in 0..processes {
        let opened = Store::open(&settings, keyring(&root_key), Arc::new(OsRandom)).await;
        stores.push(opened.expect("opens"));
    }
    (stores, pooler)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_share_the_sessions_of_a_pooler() {
    const PROCESSES: usize = 3;
    const ROUNDS: usize = 30;
    let (stores, _pooler) = pooled(PROCESSES).await;
    let mut work = JoinSet::new();
    for (process, store) in stores.iter().enumerate() {
        assert!(store.wake_ups().is_none(), "a session that listens would be another's");
        for task in 0..3 {
            let (store, follower) = (store.clone(), store.for_follower());
            work.spawn(async move {
                let replica = format!("r{process}-{task}");
                follower
                    .register(&replica_row(&follower, &replica, LEASE))
                    .await
                    .expect("registers");
                for round in 0..ROUNDS {
                    let id = format!("k-{process}-{task}-{round}");
                    create(&store, &id).await.expect("creates");
                    rename(&store, &id, "renamed").await.expect("changes");
                    let read = store.get_key(&id).await.expect("reads").expect("is there");
                    assert_eq!((read.key_id.as_str(), &*read.display_name), (&*id, "renamed"));
                    let states = store.key_states(&[id, "nobody".to_owned()]).await;
                    assert_eq!(states.expect("reads").len(), 2);
                    let beat = 2 + round as u64;
                    assert!(follower.beat(&replica, beat, 0, None).await.expect("beats"));
                    assert_eq!(follower.poll(&replica, 0).await.expect("polls").beat, Some(beat));
                    assert!(!store.list_keys(&by_id()).await.expect("lists").is_empty());
                }
            });
        }
    }
    while let Some(ended) = work.join_next().await {
        ended.expect("all of it works");
    }
    let (last, _) = stores[0].last_revision().await.expect("reads");
    assert_eq!(last, (PROCESSES * 3 * ROUNDS * 2) as u64);
    assert_eq!(stores[1].replicas(&[]).await.expect("reads").rows.len(), PROCESSES * 3);
    let loaded = std::sync::atomic::AtomicUsize::new(0);
    let count = |change| {
        let is_key = matches!(change, IndexChange::Put(_));
        loaded.fetch_add(usize::from(is_key), std::sync::atomic::Ordering::Relaxed);
    };
    let keys = PROCESSES * 3 * ROUNDS;
    let end = stores[1].end().await.expect("reads");
    assert_eq!(stores[2].load(&end, &count).await.expect("loads"), keys as u64);
    assert_eq!(loaded.into_inner(), keys);
    assert!(stores[0].forget_replies().await.is_ok());
    let report = stores[1].check_log().await.expect("checks");
    assert_eq!(report.faults, Vec::<String>::new());
}

fn by_id() -> KeyQuery {
    KeyQuery {
        account: None,
        filter: None,
        order: KeyOrder { by: KeySort::KeyId, descending: true },
        after: None,
        limit: 3,
        now: countersign::domain::Timestamp::default(),
    }
}
