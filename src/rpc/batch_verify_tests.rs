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
use crate::rpc::AtLeast;
use crate::rpc::proto;
use crate::rpc::status::unreadable;
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
fn service(micros: u64) -> Arc<Verification> {
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
    Arc::new(Verification { verifier: Arc::new(verifier), at_least: AtLeast::of_no_log() })
}

fn read(reply: &[u8]) -> proto::BatchVerifyResponse {
    proto::BatchVerifyResponse::decode(reply).expect("a reply")
}

/// How often a batch of so many lets others have their turn.
fn turns(service: Arc<Verification>, count: usize) -> usize {
    turns_of(service, vec![proto::VerifyRequest::default(); count])
}

fn turns_of(service: Arc<Verification>, requests: Vec<proto::VerifyRequest>) -> usize {
    let count = requests.len();
    let message = proto::BatchVerifyRequest { requests }.encode_to_vec();
    let (reply, turns) = polled_to_the_end(service.batch_verify(Request::new(message.into())));
    let reply = read(reply.expect("answers").get_ref());
    assert_eq!(reply.results.len(), count);
    turns
}

/// What comes of it, and how often it gave way before.
fn polled_to_the_end<T>(future: impl Future<Output = T>) -> (T, usize) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let mut turns = 0;
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Pending => turns += 1,
            Poll::Ready(outcome) => return (outcome, turns),
        }
    }
}

#[test]
fn others_get_their_turn_by_the_time_that_entries_take() {
    assert_eq!(turns(service(0), 1_000), 0, "entries that take no time");
    assert_eq!(turns(service(100), 20), 20, "each entry takes a turn of its own");
    let between = turns(service(10), 1_000);
    assert!((100..1_000).contains(&between), "{between} turns of entries of 10 to 50 \u{b5}s");
}

#[test]
fn others_get_their_turn_while_it_is_looked_up_what_entries_wait_for() {
    let store = StoreId([1; 16]);
    let requests = (1..=20).map(|revision| {
        let place = LogPosition { store, epoch: 1, revision };
        let at_least = place.encode(PositionKind::ConsistencyToken);
        proto::VerifyRequest { at_least, ..proto::VerifyRequest::default() }
    });
    assert_eq!(
        turns_of(service(100), requests.collect()),
        40,
        "each takes a turn to look, and one to answer"
    );
}

/// Two bytes are an entry, so a message as large as the server takes holds two million.
#[test]
fn of_two_million_entries_no_more_is_kept_than_may_be_answered() {
    const COUNT: usize = 2 * 1_024 * 1_024;
    let message = [0x0a, 0x00].repeat(COUNT);
    let clock = Hasty(10, AtomicU64::new(0));
    let mut turn = Turn::begin(&clock);
    let (entries, turns) = polled_to_the_end(Entries::read(&message, &mut turn));
    let entries = entries.expect("a batch");
    assert_eq!(entries.count, COUNT);
    let kept = entries.requests.capacity() * size_of::<VerifyRequest<'_>>();
    assert!(kept < 1_024 * 1_024, "{kept} bytes are kept");
    assert!(turns > 100, "others had {turns} turns meanwhile");

    let batch = |message: Vec<u8>| {
        let (answer, _) = polled_to_the_end(service(10).batch_verify(Request::new(message.into())));
        answer.expect_err("too many").message().to_owned()
    };
    let refusal = "invalid request: requests: must be 1 to 1000, are 2097152";
    assert_eq!(batch(message.clone()), refusal);
    // What nobody would answer is read all the same.
    let refusal = batch([&message[..], &[0x0a, 0x01]].concat());
    assert_eq!(refusal, Status::from(unreadable()).message());
}

#[test]
fn a_malformed_entry_carries_its_violations_in_its_place() {
    let entry = entry(Err(Error::invalid("client_ip", "must be an address"))).expect("an entry");
    let BatchResult::Error(status) = entry else { panic!("{entry:?} is no error") };
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

fn is_answered(entry: &BatchResult) -> bool {
    matches!(entry, BatchResult::Response(_))
}

fn answer(missing_scopes: Vec<String>) -> Answer {
    Answer {
        denial: None,
        proven: None,
        missing_scopes,
        checks: Vec::new(),
        based_on: LogPosition { store: StoreId([1; 16]), epoch: 1, revision: 1 },
        staleness: Duration::ZERO,
    }
}

#[test]
fn the_bytes_of_the_entries_are_those_of_the_reply() {
    let long = vec!["a:scope".to_owned(); 5_000];
    let answers = [answer(Vec::new()), answer(long.clone()), answer(Vec::new()), answer(long)];
    let (mut left, mut reply) = (MAX_ANSWERS_BYTES, Vec::new());
    for answer in answers {
        let entry = entry_within(&mut left, Ok(answer)).expect("an entry");
        assert!(is_answered(&entry));
        entry.append_to(&mut reply);
    }
    assert_eq!(read(&reply).results.len(), 4);
    assert_eq!(MAX_ANSWERS_BYTES - left, reply.len());
}

#[test]
fn after_the_first_that_does_not_fit_nothing_is_answered() {
    let empty = BatchResult::Response(answer(Vec::new()).into()).len_in_reply();
    let mut left = 2 * empty + 100;
    let sizes = [10, 50, 100, 1];
    let entries = sizes.map(|size| {
        let answer = answer(vec!["x".repeat(size)]);
        let answer = if left == 0 { Err(Error::ReplyTooLarge) } else { Ok(answer) };
        entry_within(&mut left, answer).expect("an entry")
    });
    assert_eq!(entries.each_ref().map(is_answered), [true, true, false, false]);
    let BatchResult::Error(status) = &entries[3] else { panic!("no error") };
    assert_eq!(status.code, Code::ResourceExhausted as i32);
    assert_eq!(status.message, "the batch's reply would be too large; ask for these again");
    let refusals = MAX_BATCH * entries[3].len_in_reply();
    assert!(MAX_ANSWERS_BYTES + refusals < 4 * 1_024 * 1_024, "it is too large");
}
