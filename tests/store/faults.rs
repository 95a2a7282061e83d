//! P4: whatever statement of a change fails, nothing of the change is there.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::domain::Error;
use countersign::domain::audit::{Actor, EventType};
use countersign::store::{InjectedFault, Store};

use super::bench::*;
use crate::on_both_databases;

#[derive(Debug, Clone, Copy)]
enum Operation {
    Create,
    CreateRemembered,
    Update,
    Rotate,
    Administrate,
    Delete,
    ForgetReplies,
    InsertMany,
    Accept,
}

const ALL: [Operation; 9] = [
    Operation::Create,
    Operation::CreateRemembered,
    Operation::Update,
    Operation::Rotate,
    Operation::Administrate,
    Operation::Delete,
    Operation::ForgetReplies,
    Operation::InsertMany,
    Operation::Accept,
];

impl Operation {
    /// What must be there first.
    async fn prepare(self, bench: &Bench, id: &str) {
        match self {
            Self::Create | Self::CreateRemembered | Self::InsertMany | Self::Accept => {}
            Self::Update | Self::Rotate | Self::Delete => {
                create(&bench.store, id).await.expect("creates");
            }
            Self::Administrate => {
                create_from(&bench.store, id, administrator(), None).await.expect("creates");
            }
            Self::ForgetReplies => {
                create_from(&bench.store, id, acme(), Some(&slot())).await.expect("creates");
                bench.sql("UPDATE replies SET create_time = create_time - 600000000").await;
            }
        }
    }

    async fn run(self, store: &Store, id: &str) -> Result<(), Error> {
        match self {
            Self::Create => create(store, id).await.map(drop),
            Self::CreateRemembered => create_from(store, id, acme(), Some(&slot())).await.map(drop),
            Self::Update => {
                let everything = change(store, id, EventType::KeyUpdated, |key, before| {
                    let other = new_key(id, administrator(), before.now);
                    key.display_name = "changed".to_owned();
                    key.scopes = other.scopes;
                    key.labels = [("other".to_owned(), "label".to_owned())].into();
                    Ok(())
                });
                everything.await.map(drop)
            }
            Self::Rotate => {
                let rotated = change(store, id, EventType::KeyRotated, |key, before| {
                    key.rotate(secret(), Duration::ZERO, before.now)
                });
                rotated.await.map(drop)
            }
            Self::Administrate => rename(store, id, "the boss").await.map(drop),
            Self::Delete => delete(store, id).await.map(drop),
            Self::ForgetReplies => store.forget_replies().await.map(drop),
            Self::InsertMany => {
                let now = countersign::domain::Timestamp::default();
                let keys = (0..3).map(|number| {
                    let key = new_key(&format!("{id}-{number}"), acme(), now);
                    let event = event(EventType::KeyCreated, None, Some(&key));
                    (key, event)
                });
                store.insert_many(keys.collect()).await.map(drop)
            }
            Self::Accept => {
                let epoch = store.end().await?.epoch;
                store.accept(epoch, None, &Actor::local("test")).await.map(drop)
            }
        }
    }
}

/// A store whose `n`-th statement of a write transaction fails, and the name of that statement.
fn failing_at(store: &Store, n: usize) -> (Store, Arc<Mutex<&'static str>>) {
    let (count, failed) = (AtomicUsize::new(0), Arc::new(Mutex::new("")));
    let (mut store, name_of_failed) = (store.clone(), failed.clone());
    store.on_statement(Arc::new(move |name| {
        if count.fetch_add(1, Ordering::SeqCst) == n {
            *name_of_failed.lock().unwrap() = name;
            return Err(InjectedFault);
        }
        Ok(())
    }));
    (store, failed)
}

/// Lets an operation fail at its `n`-th statement, and gives that statement's name, if there are so many. `odd` is
/// added to the revision that it would get.
async fn fail_at(bench: &Bench, operation: Operation, n: usize, odd: u64) -> Option<&'static str> {
    let id = format!("{operation:?}-{n}-{odd}");
    operation.prepare(bench, &id).await;
    let (last, _) = bench.store.last_revision().await.expect("reads");
    if (last + 1 + odd) % 2 == 1 {
        create(&bench.store, &format!("before-{id}")).await.expect("creates");
    }
    let before = bench.dump().await;
    let (failing, failed) = failing_at(&bench.store, n);
    let outcome = operation.run(&failing, &id).await;
    let failed = *failed.lock().unwrap();
    match failed {
        "" => assert_eq!(outcome, Ok(()), "{operation:?} had no fault and failed"),
        // The one fault after the fact: what is done is done.
        "committed" => assert_ne!(bench.dump().await, before, "{operation:?} is lost"),
        _ => {
            let error = outcome.expect_err("a fault is an error");
            assert!(matches!(error, Error::Internal(_)), "{operation:?} at {failed}: {error:?}");
            assert_eq!(bench.dump().await, before, "{operation:?} at {failed} is half done");
        }
    }
    create(&bench.store, &format!("after-{id}")).await.expect("the next change works");
    (!failed.is_empty()).then_some(failed)
}

/// The names of all statements of an operation that succeeds.
async fn names_of_all(bench: &Bench, operation: Operation) -> BTreeSet<&'static str> {
    let names = Arc::new(Mutex::new(BTreeSet::new()));
    let (mut store, seen) = (bench.store.clone(), names.clone());
    store.on_statement(Arc::new(move |name| {
        seen.lock().unwrap().insert(name);
        Ok(())
    }));
    let id = format!("{operation:?}-succeeds");
    operation.prepare(bench, &id).await;
    operation.run(&store, &id).await.expect("nothing is in the way");
    names.lock().unwrap().clone()
}

on_both_databases! {
    async fn a_fault_at_any_statement_leaves_nothing_half_done(db: Database) {
        let bench = Bench::new(db).await;
        for operation in ALL {
            let mut failed_at = BTreeSet::new();
            for n in 0.. {
                // An event at an even revision completes a part of the tree and takes one statement more.
                let at_even = fail_at(&bench, operation, n, 0).await;
                let at_odd = fail_at(&bench, operation, n, 1).await;
                failed_at.extend(at_even.into_iter().chain(at_odd));
                if at_even.is_none() && at_odd.is_none() {
                    break;
                }
            }
            for name in names_of_all(&bench, operation).await {
                assert!(failed_at.contains(name), "{operation:?} never failed at {name}: {failed_at:?}");
            }
        }
        bench.assert_log_is_right().await;
    }
}
