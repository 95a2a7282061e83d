//! The steps of a sequence, and how they are drawn.

use countersign::rpc::proto::RevokeReason;
use countersign::rpc::proto::key::State;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest_state_machine::ReferenceStateMachine;

use super::rules::Rules;

/// One more than the keys that sequences are about, so that some are about no key.
const PLACES: usize = 5;

/// Keys are named by their place in the order of creation.
#[derive(Debug, Clone)]
pub enum Step {
    Create(Spec),
    Update { key: usize, change: Change, etag: Etag },
    Rotate { key: usize, overlap: Overlap },
    ExpireSecret { key: usize, number: i32 },
    Disable(usize),
    Enable(usize),
    Revoke { key: usize, reason: RevokeReason },
    Delete(usize),
    Get(usize),
    List(Option<State>),
    Verify(Question),
}

/// What can be said about a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    pub name: String,
    pub grant: Grant,
    /// Bound to the network 10.0.0.0/8.
    pub bound: bool,
    pub test: bool,
    /// In the far future.
    pub expires: bool,
}

#[derive(Debug, Clone)]
pub enum Change {
    Name(String),
    Grant(Grant),
    Bound(bool),
    Expires(bool),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Grant {
    Nothing,
    Read,
    AllOfTransactions,
    ReadOfAnyAccount,
    Everything,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Etag {
    None,
    Current,
    Stale,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Overlap {
    None,
    Long,
    Absent,
    TooLong,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum From {
    Unsaid,
    Inside,
    InsideMapped,
    Outside,
}

/// A question to Verify.
#[derive(Debug, Clone)]
pub struct Question {
    pub key: usize,
    /// The version of its secret; one that was never made stands for a wrong secret.
    pub secret: i32,
    pub scopes: Vec<&'static str>,
    pub from: From,
    pub test: bool,
    pub other_account: bool,
    pub other_application: bool,
}

impl Grant {
    pub const ALL: [Self; 5] = [
        Self::Nothing,
        Self::Read,
        Self::AllOfTransactions,
        Self::ReadOfAnyAccount,
        Self::Everything,
    ];

    pub fn scopes(self) -> Vec<String> {
        let scope = match self {
            Self::Nothing => return Vec::new(),
            Self::Read => "transactions:read",
            Self::AllOfTransactions => "transactions:*",
            Self::ReadOfAnyAccount => "accounts:*:read",
            Self::Everything => "*",
        };
        vec![scope.to_owned()]
    }
}

impl From {
    pub fn address(self) -> &'static str {
        match self {
            Self::Unsaid => "",
            Self::Inside => "10.1.2.3",
            Self::InsideMapped => "::ffff:10.1.2.3",
            Self::Outside => "192.0.2.1",
        }
    }

    pub fn is_inside(self) -> bool {
        matches!(self, Self::Inside | Self::InsideMapped)
    }
}

impl ReferenceStateMachine for Rules {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let key = || 0..PLACES;
        let etag =
            || prop_oneof![4 => Just(Etag::None), 2 => Just(Etag::Current), 1 => Just(Etag::Stale)];
        let overlap = prop_oneof![
            4 => Just(Overlap::Long),
            3 => Just(Overlap::None),
            1 => select(vec![Overlap::Absent, Overlap::TooLong]),
        ];
        let reason = prop_oneof![
            4 => select(vec![RevokeReason::Compromised, RevokeReason::Unused]),
            1 => Just(RevokeReason::Unspecified),
        ];
        let state = select(vec![State::Active, State::Disabled, State::Revoked, State::Expired]);
        prop_oneof![
            4 => spec().prop_map(Step::Create),
            4 => (key(), change(), etag())
                .prop_map(|(key, change, etag)| Step::Update { key, change, etag }),
            5 => (key(), overlap).prop_map(|(key, overlap)| Step::Rotate { key, overlap }),
            3 => (key(), 0..5_i32).prop_map(|(key, number)| Step::ExpireSecret { key, number }),
            2 => key().prop_map(Step::Disable),
            3 => key().prop_map(Step::Enable),
            1 => (key(), reason).prop_map(|(key, reason)| Step::Revoke { key, reason }),
            1 => key().prop_map(Step::Delete),
            1 => key().prop_map(Step::Get),
            1 => proptest::option::of(state).prop_map(Step::List),
            8 => question().prop_map(Step::Verify),
        ]
        .boxed()
    }

    fn apply(mut rules: Self, step: &Step) -> Self {
        rules.take(step);
        rules
    }
}

fn spec() -> impl Strategy<Value = Spec> {
    let grant = select(Grant::ALL.to_vec());
    (name(), grant, any::<bool>(), rarely(), any::<bool>())
        .prop_map(|(name, grant, bound, test, expires)| Spec { name, grant, bound, test, expires })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        name().prop_map(Change::Name),
        select(Grant::ALL.to_vec()).prop_map(Change::Grant),
        any::<bool>().prop_map(Change::Bound),
        any::<bool>().prop_map(Change::Expires),
    ]
}

/// Few, so that a key often has the name already.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![5 => Just("Ada"), 5 => Just("Grace"), 1 => Just("")].prop_map(str::to_owned)
}

fn question() -> impl Strategy<Value = Question> {
    let scopes = vec![
        "transactions:read",
        "transactions:write:large",
        "accounts:7:read",
        "countersign.keys:read",
    ];
    let scopes = prop_oneof![2 => Just(Vec::new()), 3 => subsequence(scopes, 1..=2)];
    let from = prop_oneof![
        1 => Just(From::Unsaid),
        2 => Just(From::Inside),
        2 => Just(From::InsideMapped),
        1 => Just(From::Outside),
    ];
    (0..PLACES, 0..6_i32, scopes, from, rarely(), rarely(), rarely()).prop_map(
        |(key, secret, scopes, from, test, other_account, other_application)| Question {
            key,
            secret,
            scopes,
            from,
            test,
            other_account,
            other_application,
        },
    )
}

fn rarely() -> impl Strategy<Value = bool> {
    proptest::bool::weighted(0.15)
}
