use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::domain::Timestamp;
use crate::domain::credential::Brands;
use crate::domain::ids::StoreId;
use crate::domain::keyring::DataKey;
use crate::domain::position::Position;
use crate::domain::time::Clock;
use crate::domain::token::{LogPosition, PositionKind};
use crate::verify::Index;

/// A clock on which each look costs so many microseconds.
#[derive(Debug)]
struct Hasty(u64, AtomicU64);

impl Clock for Hasty {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn uptime(&self) -> Duration {
        Duration::from_micros(self.1.fetch_add(self.0, Ordering::Relaxed))
    }
}

/// A service without keys whose every entry seems to take so long, at the least.
fn service(micros: u64) -> KeyVerifierService {
    let position = Position::default();
    position.grant(Duration::MAX);
    let verifier = Verifier::new(
        Arc::new(Index::new()),
        Arc::new(DataKey::new([7; 32])),
        Arc::new(position),
        Arc::new(Hasty(micros, AtomicU64::new(0))),
        Brands::default(),
        StoreId([1; 16]),
    );
    KeyVerifierService::new(Arc::new(verifier), AtLeast::of_no_log())
}

/// How often a batch of so many lets others have their turn.
fn turns(service: &KeyVerifierService, count: usize) -> usize {
    turns_of(service, vec![VerifyRequest::default(); count])
}

fn turns_of(service: &KeyVerifierService, requests: Vec<VerifyRequest>) -> usize {
    let count = requests.len();
    let mut batch = pin!(service.batch_verify(Request::new(BatchVerifyRequest { requests })));
    let mut context = Context::from_waker(Waker::noop());
    let mut turns = 0;
    loop {
        match batch.as_mut().poll(&mut context) {
            Poll::Pending => turns += 1,
            Poll::Ready(reply) => {
                assert_eq!(reply.expect("answers").get_ref().results.len(), count);
                return turns;
            }
        }
    }
}

#[test]
fn others_get_their_turn_by_the_time_that_entries_take() {
    assert_eq!(turns(&service(0), 1_000), 0, "entries that take no time");
    assert_eq!(turns(&service(100), 20), 20, "each entry takes a turn of its own");
    let between = turns(&service(10), 1_000);
    assert!((100..1_000).contains(&between), "{between} turns of entries of 10 to 50 \u{b5}s");
}

#[test]
fn others_get_their_turn_while_it_is_looked_up_what_entries_wait_for() {
    let store = StoreId([1; 16]);
    let requests = (1..=20).map(|revision| {
        let place = LogPosition { store, epoch: 1, revision };
        let at_least = place.encode(PositionKind::ConsistencyToken);
        VerifyRequest { at_least, ..VerifyRequest::default() }
    });
    assert_eq!(
        turns_of(&service(100), requests.collect()),
        40,
        "each takes a turn to look, and one to answer"
    );
}

#[test]
fn a_malformed_entry_carries_its_violations_in_its_place() {
    let outcome = entry(Err(Error::invalid("client_ip", "must be an address"))).expect("an entry");
    let Some(Entry::Error(status)) = outcome.result else { panic!("{outcome:?} is no error") };
    assert_eq!(status.code, Code::InvalidArgument as i32);
    assert_eq!(status.message, "invalid request: client_ip: must be an address");
    let status = Status::with_details(Code::InvalidArgument, "", status.encode_to_vec().into());
    let violations = status.get_details_bad_request().expect("a BadRequest").field_violations;
    assert_eq!(violations[0].field, "client_ip");
}

#[test]
fn a_replica_that_cannot_know_ends_the_batch() {
    let status = entry(Err(Error::Unavailable("still starting"))).expect_err("the whole batch");
    assert_eq!(status.code(), Code::Unavailable);
}

fn is_answered(outcome: &Outcome) -> bool {
    matches!(outcome.result, Some(Entry::Response(_)))
}

#[test]
fn the_bytes_of_the_entries_are_those_of_the_reply() {
    let answer = |scopes| VerifyResponse { missing_scopes: scopes, ..VerifyResponse::default() };
    let long = vec!["a:scope".to_owned(); 5_000];
    let answers = [answer(Vec::new()), answer(long.clone()), answer(Vec::new()), answer(long)];
    let mut left = MAX_ANSWERS_BYTES;
    let results = answers.map(|answer| entry_within(&mut left, Ok(answer)).expect("an entry"));
    let reply = BatchVerifyResponse { results: results.into() };
    assert!(reply.results.iter().all(is_answered));
    assert_eq!(MAX_ANSWERS_BYTES - left, reply.encoded_len());
}

#[test]
fn after_the_first_that_does_not_fit_nothing_is_answered() {
    let mut left = 100;
    let sizes = [10, 50, 60, 1];
    let outcomes = sizes.map(|size| {
        let consistency_token = "x".repeat(size);
        let answer = VerifyResponse { consistency_token, ..VerifyResponse::default() };
        let answer = if left == 0 { Err(Error::ReplyTooLarge) } else { Ok(answer) };
        entry_within(&mut left, answer).expect("an entry")
    });
    assert_eq!(outcomes.each_ref().map(is_answered), [true, true, false, false]);
    let Some(Entry::Error(status)) = &outcomes[3].result else { panic!("no error") };
    assert_eq!(status.code, Code::ResourceExhausted as i32);
    assert_eq!(status.message, "the batch's reply would be too large; ask for these again");
    let refusals = BatchVerifyResponse { results: vec![outcomes[3].clone(); MAX_BATCH] };
    assert!(MAX_ANSWERS_BYTES + refusals.encoded_len() < 4 * 1_024 * 1_024, "it is too large");
}
