use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::domain::audit::EventType;
use crate::domain::credential::from_pair;
use crate::domain::draft::KeyDraft;
use crate::domain::ids::{Environment, KeyId};
use crate::domain::key::{Key, NewSecret};
use crate::domain::permission::{Permission, admission};
use crate::domain::time::ManualClock;
use crate::domain::verdict::IndexChange;

const SECRET: &str = "a-secret-of-a-key-that-came-from-elsewhere";

struct House {
    verifier: Verifier,
    index: Arc<Index>,
    position: Arc<Position>,
    clock: Arc<ManualClock>,
    data_key: Arc<DataKey>,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000).expect("in range")
}

fn house() -> House {
    let (index, position) = (Arc::new(Index::default()), Arc::new(Position::default()));
    let (clock, data_key) = (Arc::new(ManualClock::at(at(0))), Arc::new(DataKey::new([3; 32])));
    position.grant(Duration::from_secs(31));
    let verifier = Verifier::new(
        Arc::clone(&index),
        Arc::clone(&data_key),
        Arc::clone(&position),
        Arc::<ManualClock>::clone(&clock),
        Brands::default(),
        StoreId([1; 16]),
    );
    House { verifier, index, position, clock, data_key }
}

impl House {
    /// Puts a key of that account in, with those scopes.
    fn put(&self, key_id: &str, account: &str, scopes: &[&str], revision: u64) -> Key {
        let draft = KeyDraft {
            account_id: account.to_owned(),
            application_id: "web".to_owned(),
            environment: Some(Environment::Live),
            display_name: format!("{:?}", EventType::KeyCreated),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            ..KeyDraft::default()
        };
        let digest = self.data_key.digest(key_id, SECRET);
        let secret = NewSecret { digest, hint: String::new() };
        let id = KeyId::from_stored(key_id.to_owned()).expect("valid");
        let mut key = Key::create(draft.check(at(0)).expect("valid"), id, secret, "test", at(0));
        key.revision = revision;
        self.index.apply(IndexChange::Put(Arc::new(key.verifiable())));
        key
    }

    fn presented<'a>(&self, key_id: &'a str, secret: &'a str) -> Presented<'a> {
        from_pair(key_id, secret, self.verifier.brands())
    }

    fn ask(&self, key_id: &str, secret: &str, caller: Option<&Principal>) -> Answer {
        let presented = self.presented(key_id, secret);
        let query = Query { presented, question: admission(None), caller, explain: false };
        self.verifier.verify(&query).expect("fresh")
    }

    fn principal(&self, key_id: &str) -> Principal {
        let presented = self.presented(key_id, SECRET);
        self.verifier.authenticate(&presented, None, Origin::default()).expect("admitted")
    }
}

#[test]
fn an_unknown_id_and_a_wrong_secret_get_the_same_answer() {
    let house = house();
    house.put("a-key", "acme", &["a:read"], 1);
    let (unknown, wrong) = (house.ask("no-key", SECRET, None), house.ask("a-key", "wrong", None));
    assert_eq!(unknown.denial, Some(DenialReason::InvalidCredential));
    assert_eq!(format!("{unknown:?}"), format!("{wrong:?}"));
    assert!(wrong.proven.is_none());
}

#[test]
fn a_caller_of_one_account_learns_nothing_of_anothers_keys() {
    let house = house();
    house.put("a-service", "acme", &["countersign.verify:call"], 1);
    house.put("own-key", "acme", &[], 2);
    house.put("foreign-key", "other", &[], 3);
    let caller = house.principal("a-service");
    assert_eq!(house.ask("own-key", SECRET, Some(&caller)).denial, None);
    let foreign = house.ask("foreign-key", SECRET, Some(&caller));
    let unknown = house.ask("no-key", SECRET, Some(&caller));
    assert_eq!(format!("{foreign:?}"), format!("{unknown:?}"));
}

#[test]
fn a_replica_that_lost_touch_for_too_long_answers_nothing() {
    let house = house();
    house.put("a-key", "acme", &[], 1);
    house.clock.set(at(30));
    assert_eq!(house.ask("a-key", SECRET, None).staleness, Duration::from_secs(30));
    house.clock.set(at(31));
    let presented = house.presented("a-key", SECRET);
    let query = Query { presented, question: admission(None), caller: None, explain: false };
    assert!(matches!(house.verifier.verify(&query), Err(Error::Unavailable(_))));
    // Nor does it refuse whoever calls: another replica may know them.
    for (key_id, secret) in [("a-key", SECRET), ("a-key", "wrong"), ("no-key", SECRET)] {
        let presented = house.presented(key_id, secret);
        let refused = house.verifier.authenticate(&presented, None, Origin::default());
        assert!(matches!(refused, Err(Refusal::Unknown(_))), "{refused:?}");
    }
    house.position.confirm(Duration::from_secs(31), at(31), house.clock.as_ref());
    house.position.grant(Duration::from_secs(61));
    assert_eq!(house.ask("a-key", SECRET, None).denial, None);
}

#[test]
fn a_record_never_goes_back_and_a_removed_one_is_gone() {
    let house = house();
    let mut key = house.put("a-key", "acme", &[], 5);
    key.revision = 4;
    key.disable().expect("disables");
    house.index.apply(IndexChange::Put(Arc::new(key.verifiable())));
    assert_eq!(house.ask("a-key", SECRET, None).denial, None);
    house.index.apply(IndexChange::Remove(key.key_id));
    assert_eq!(house.ask("a-key", SECRET, None).denial, Some(DenialReason::InvalidCredential));
    assert!(house.index.is_empty());
}

#[test]
fn a_long_call_is_rechecked_against_the_key_as_it_is_now() {
    let house = house();
    let mut key = house.put("a-key", "acme", &["countersign.audit:read"], 1);
    let principal = house.principal("a-key");
    let recheck = || house.verifier.recheck(&principal, Permission::AuditRead);
    assert_eq!(recheck(), Ok(()));
    assert!(house.verifier.recheck(&principal, Permission::KeysRead).is_err());
    house.put("a-key", "acme", &[], 2);
    assert!(matches!(recheck(), Err(Error::PermissionDenied(_))));
    house.put("a-key", "acme", &["countersign.audit:read"], 3);
    assert_eq!(recheck(), Ok(()));
    key.revision = 4;
    key.expire_secret(1, at(0)).expect("expires");
    house.index.apply(IndexChange::Put(Arc::new(key.verifiable())));
    assert!(matches!(recheck(), Err(Error::Unauthenticated(_))));
    house.put("a-key", "acme", &["countersign.audit:read"], 5);
    house.clock.set(at(31));
    assert!(matches!(recheck(), Err(Error::Unavailable(_))));
}

/// A clock at which something happens whenever it is asked for the present, which is in the middle of a verification.
struct Eventful {
    uptime: AtomicU64,
    happens: Box<dyn Fn(&AtomicU64) + Send + Sync>,
}

impl Clock for Eventful {
    fn now(&self) -> Timestamp {
        (self.happens)(&self.uptime);
        Timestamp::default()
    }

    fn uptime(&self) -> Duration {
        Duration::from_secs(self.uptime.load(Ordering::SeqCst))
    }
}

/// What becomes of a verification in whose middle this happens, under a lease of 31 seconds.
fn interrupted_by(
    happens: impl Fn(&Position, &AtomicU64) + Send + Sync + 'static,
) -> Result<Answer, Error> {
    let house = house();
    house.put("a-key", "acme", &[], 1);
    let position = Arc::clone(&house.position);
    let verifier = Verifier::new(
        Arc::clone(&house.index),
        Arc::clone(&house.data_key),
        Arc::clone(&house.position),
        Arc::new(Eventful {
            uptime: AtomicU64::new(1),
            happens: Box::new(move |uptime| happens(&position, uptime)),
        }),
        Brands::default(),
        StoreId([1; 16]),
    );
    let presented = from_pair("a-key", SECRET, verifier.brands());
    let query = Query { presented, question: admission(None), caller: None, explain: false };
    verifier.verify(&query)
}

#[test]
fn an_answer_is_not_given_if_its_lease_ends_while_it_is_made() {
    assert_eq!(interrupted_by(|_, _| ()).expect("nothing happens").denial, None);
    let late = interrupted_by(|_, uptime| uptime.store(31, Ordering::SeqCst));
    assert!(matches!(late, Err(Error::Unavailable(_))), "{late:?}");
}

#[test]
fn an_answer_is_not_given_within_a_later_lease_than_it_was_begun_in() {
    let lost = interrupted_by(|position, _| {
        position.void();
        position.grant(Duration::from_secs(62));
    });
    assert!(matches!(lost, Err(Error::Unavailable(_))), "{lost:?}");
    let prolonged = interrupted_by(|position, uptime| {
        position.grant(Duration::from_secs(62));
        uptime.store(32, Ordering::SeqCst);
    });
    assert!(matches!(prolonged, Err(Error::Unavailable(_))), "{prolonged:?}");
}

#[test]
fn staleness_is_that_of_what_the_answer_rests_on() {
    let answer = interrupted_by(|position, uptime| {
        uptime.store(20, Ordering::SeqCst);
        position.advance(7, Timestamp::default());
    });
    let answer = answer.expect("within its lease");
    assert_eq!(answer.staleness, Duration::from_secs(20));
    assert_eq!(answer.based_on.revision, 0, "what came meanwhile is not claimed");
}
