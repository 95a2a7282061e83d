//! The whole log and all keys, through the API; and the check of the log, through the library.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign::config::read_root_keys;
use countersign::domain::random::OsRandom;
use countersign::rpc::proto::{AuditEvent, Key, ListAuditEventsRequest, ListKeysRequest};
use countersign::store::{self, DatabaseUrl};

use crate::harness::{Caller, Store};

/// The most that a page takes.
const PAGE: i32 = 1_000;

/// All events that fit a filter, oldest first.
pub async fn events(caller: &Caller, filter: &str) -> Vec<AuditEvent> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let filter = filter.to_owned();
        let request = ListAuditEventsRequest { filter, page_size: PAGE, page_token };
        let reply = caller.admin().list_audit_events(request).await;
        let page = reply.expect("the log can be read").into_inner();
        all.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

/// The whole log, after looking that it has no gap and that time goes forward.
pub async fn whole_log(caller: &Caller) -> Vec<AuditEvent> {
    let mut log = Vec::new();
    read_on(&mut log, caller).await;
    log
}

/// Adds what is new to a log that was read before. Revisions have no gap, and time goes forward.
pub async fn read_on(log: &mut Vec<AuditEvent>, caller: &Caller) {
    let new = events(caller, &format!("revision > {}", log.len())).await;
    for event in new {
        assert_eq!(event.revision, log.len() as i64 + 1, "revisions have no gap");
        let time = |event: &AuditEvent| event.time.map(|time| (time.seconds, time.nanos));
        let newest = log.last().and_then(time);
        assert!(newest <= time(&event), "no event is older than the one before it");
        log.push(event);
    }
}

/// All keys of an account by their ids.
pub async fn keys_of(caller: &Caller, account: &str) -> BTreeMap<String, Key> {
    let (mut all, mut page_token) = (BTreeMap::new(), String::new());
    loop {
        let filter = format!("account_id = \"{account}\"");
        let request = ListKeysRequest { filter, page_size: PAGE, page_token, ..Default::default() };
        let page = caller.admin().list_keys(request).await.expect("keys can be listed");
        let page = page.into_inner();
        all.extend(page.keys.into_iter().map(|key| (key.key_id.clone(), key)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

/// Computes the whole tree anew from the events and holds every key against the log, as a process
/// of its own; the server may run or not. Gives the number of events.
pub async fn assert_log_is_right(store: &Store) -> u64 {
    let url = match &store.url {
        Some(url) => DatabaseUrl::parse(url).expect("the harness makes URLs"),
        None => DatabaseUrl::sqlite_file(&store.data_dir.join("countersign.db")),
    };
    let root_keys = read_root_keys(&store.root_key_file()).expect("the root key is there");
    let opened =
        store::Store::open(&store::Settings::new(url), root_keys, Arc::new(OsRandom)).await;
    let opened = opened.unwrap_or_else(|error| panic!("{error}"));
    let report = opened.check_log().await.expect("the log can be checked");
    opened.close().await;
    assert_eq!(report.faults, Vec::<String>::new(), "the log and the keys fit each other");
    report.events
}
