//! Promise P7: a lost reply, asked for again with the same `request_id`: one key, one event, the
//! same reply. Lost between client and server, and between server and database.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tonic::Code;

use super::ledger::Ledger;
use super::log::{assert_log_is_right, events, whole_log};
use super::writes::Write;
use crate::harness::seeded::Random;
use crate::harness::{Caller, Database, Proxy, Server, Store, postgres};
use crate::on_both_databases;

const CLIENTS: usize = 4;
const LOST_BY_EACH: usize = 50;
const LOST: usize = CLIENTS * LOST_BY_EACH;

on_both_databases! {
    async fn a_reply_lost_on_its_way_to_the_client_is_given_again(db: Database) {
        let server = Server::start(db).await;
        let near = server.as_admin().await;
        let clients = (0..CLIENTS).map(|number| lose_responses(&server, &near, number));
        let ledgers = join_all(clients).await;
        let log = whole_log(&near).await;
        for ledger in &ledgers {
            ledger.holds_at(&near).await;
            ledger.is_the_history_in(&log);
        }
        assert_eq!(assert_log_is_right(server.store()).await, log.len() as u64);
    }
}

/// Creates and rotates keys, and loses every first reply.
async fn lose_responses(server: &Server, near: &Caller, number: usize) -> Ledger {
    let target = server.address().parse().expect("the server names its address");
    let proxy = Proxy::to(target).await;
    let endpoint = format!("http://{}", proxy.address());
    let far = Caller::connect(&endpoint, Some(server.admin())).await;
    let mut ledger = Ledger::of(format!("client-{number}"));
    let mut newest = None;
    for round in 0..LOST_BY_EACH {
        let write = match newest.take().filter(|_| round % 3 > 0) {
            Some(key_id) => ledger.next_rotate(key_id, Duration::ZERO),
            None => ledger.next_create(),
        };
        proxy.lose_responses(1);
        assert!(write.send(&far).await.is_err(), "the reply of {write:?} was lost");
        assert_eq!(events_of(near, &write).await, 1, "the server had done {write:?}");

        let again = write.send(&far).await;
        let again = again.unwrap_or_else(|status| panic!("{write:?}, again: {status}"));
        let once_more = write.send(near).await;
        let once_more = once_more.unwrap_or_else(|status| panic!("{write:?}, again: {status}"));
        assert!(again == once_more, "{write:?} has two replies");
        assert_eq!(events_of(near, &write).await, 1, "events of {write:?}");
        newest = Some(ledger.book(&write, again));
    }
    assert_eq!(proxy.lost_replies(), LOST_BY_EACH as u64);
    ledger
}

async fn events_of(caller: &Caller, write: &Write) -> usize {
    let request_id = write.request_id().expect("creates and rotates have one");
    events(caller, &format!("request_id = \"{request_id}\"")).await.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_reply_is_lost_is_found_by_its_request_id_and_otherwise_unavailable() {
    let mut random = Random::seeded();
    let mut store = Store::fresh(Database::Postgres).await;
    let url = store.url.take().expect("PostgreSQL has a URL");
    let proxy = Proxy::to(postgres::address_of(&url)).await;
    store.url = Some(postgres::through(&url, proxy.address()));
    let server = Server::on_store(Arc::new(store)).start().await;
    let caller = server.as_admin().await;
    let mut ledger = Ledger::of("acme");
    let (mut recognised, mut unavailable) = (0, 0);
    for _ in 0..LOST {
        let write = ledger.next(&mut random);
        proxy.lose_commit_replies(1);
        match write.send(&caller).await {
            Ok(reply) => {
                assert!(write.request_id().is_some(), "nobody can know whether {write:?} was made");
                ledger.book(&write, reply);
                recognised += 1;
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{write:?}: {status}");
                assert!(write.request_id().is_none(), "{write:?} would be recognised: {status}");
                assert!(ledger.settle(&caller, &write).await, "{write:?} had been committed");
                unavailable += 1;
            }
        }
    }
    assert_eq!(proxy.lost_replies(), LOST as u64);
    assert!(recognised > 0 && unavailable > 0, "{recognised} and {unavailable} of each kind");
    ledger.holds_at(&caller).await;
    ledger.is_the_history_in(&whole_log(&caller).await);
    assert_log_is_right(server.store()).await;
}
