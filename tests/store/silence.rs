//! A database that says nothing any more, as behind a partition: nobody waits for ever, and when it is back
//! everything works again by itself.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::domain::Error;
use countersign::domain::position::Position;
use countersign::domain::random::OsRandom;
use countersign::domain::time::{Clock, SystemClock};
use countersign::domain::verdict::IndexChange;
use countersign::log::Settings;
use countersign::store::{DatabaseUrl, Store};
use tokio::task::JoinSet;

use super::bench::*;
use crate::harness::following::{follow, replica_row};
use crate::harness::{Database, Proxy, eventually, postgres};

const PATIENCE: Duration = Duration::from_secs(60);

/// A store of the same database that reaches it through a proxy.
async fn through_a_proxy(bench: &Bench) -> (Store, Proxy) {
    let url = real_url(&bench.settings);
    let proxy = Proxy::to(postgres::address_of(&url)).await;
    let mut settings = bench.settings.clone();
    settings.url = DatabaseUrl::parse(&postgres::through(&url, proxy.address())).expect("a URL");
    settings.lock_timeout = Duration::from_millis(400);
    let root = keyring(bench.root_key());
    let store = Store::open(&settings, root, Arc::new(OsRandom)).await.expect("opens");
    (store, proxy)
}

fn said_it_can_not<T>(outcome: Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Unavailable(_) | Error::Overloaded { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_changes_end_and_work_again_when_it_is_back() {
    let bench = Bench::new(Database::Postgres).await;
    let (store, proxy) = through_a_proxy(&bench).await;
    create(&store, "k1").await.expect("creates");
    // So that every connection has been used.
    let mut readers = JoinSet::new();
    for _ in 0..30 {
        let store = store.clone();
        readers.spawn(async move { store.get_key("k1").await });
    }
    readers.join_all().await.into_iter().for_each(|read| assert!(read.expect("reads").is_some()));

    proxy.go_silent();
    let mut work = JoinSet::new();
    for number in 0..30 {
        let store = store.clone();
        work.spawn(async move {
            match number % 3 {
                0 => said_it_can_not(create(&store, &format!("silent-{number}")).await),
                1 => said_it_can_not(store.get_key("k1").await),
                _ => said_it_can_not(store.last_revision().await),
            }
        });
    }
    let ended = tokio::time::timeout(PATIENCE, work.join_all()).await;
    let ended = ended.expect("nobody waits for ever");
    assert!(ended.iter().all(|said| *said), "nobody is told anything else");

    // What was thrown away stays lost: the old connections are dead, and nothing says so.
    proxy.heal();
    eventually("changes work again", PATIENCE, async || create(&store, "k2").await.ok()).await;
    eventually("reads work again", PATIENCE, async || store.get_key("k2").await.ok().flatten())
        .await;
    bench.assert_log_is_right().await;
}

#[tokio::test]
async fn polls_and_beats_end_soon_and_go_on_with_another_connection() {
    let bench = Bench::new(Database::Postgres).await;
    let (store, proxy) = through_a_proxy(&bench).await;
    let store = store.for_follower();
    store.register(&replica_row(&store, "r1", Duration::from_secs(1))).await.expect("registers");
    assert!(store.poll("r1", 0).await.is_ok());

    proxy.go_silent();
    let asked = async {
        // More than there are connections at once, so that each of them has gone silent.
        let polls = (0..5).map(|_| store.poll("r1", 0));
        let polled = futures::future::join_all(polls).await;
        let beaten = store.beat("r1", 2, 0, None).await;
        polled.into_iter().all(said_it_can_not) && said_it_can_not(beaten)
    };
    let said = tokio::time::timeout(PATIENCE, asked).await;
    assert!(said.expect("nobody waits for ever"), "nobody is told anything else");

    proxy.heal();
    eventually("polls work again", PATIENCE, async || store.poll("r1", 0).await.ok()).await;
    eventually("beats work again", PATIENCE, async || store.beat("r1", 3, 0, None).await.ok())
        .await;
    assert_eq!(store.poll("r1", 0).await.expect("polls").beat, Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_follower_gets_over_it() {
    let bench = Bench::new(Database::Postgres).await;
    let (store, proxy) = through_a_proxy(&bench).await;
    create(&bench.store, "k1").await.expect("creates");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let position = Arc::new(Position::default());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let applied = Arc::clone(&seen);
    let apply = Box::new(move |change| {
        if let IndexChange::Put(key) = change {
            applied.lock().expect("no panic").push(key.key_id.to_string());
        }
    });
    let (_log, follower) =
        follow(&store, Settings::default(), clock.clone(), position.clone(), apply).await;
    tokio::spawn(follower.run());
    create(&bench.store, "k2").await.expect("creates");
    eventually("it follows", PATIENCE, async || position.applied() == 2).await;

    proxy.go_silent();
    create(&bench.store, "k3").await.expect("creates, around the proxy");
    eventually("it has had no news for more than the limit of a read", PATIENCE, async || {
        position.since_poll(&*clock) > Duration::from_secs(1)
    })
    .await;
    assert_eq!(position.applied(), 2);
    proxy.heal();
    eventually("it goes on", PATIENCE, async || position.applied() == 3).await;
    eventually("it is up to date", PATIENCE, async || {
        position.since_poll(&*clock) < Duration::from_secs(1)
    })
    .await;
    assert_eq!(*seen.lock().expect("no panic"), ["k1", "k2", "k3"]);
}
