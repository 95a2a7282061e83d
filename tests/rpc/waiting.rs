//! `wait` and the outcome in the reply of every change.

use std::time::Duration;

use countersign::rpc::proto::replica_outcome::State;
use countersign::rpc::proto::{
    CreateKeyRequest, DeleteKeyRequest, DisableKeyRequest, EnableKeyRequest, ExpireSecretRequest,
    Key, ReplicaOutcome, RevokeKeyRequest, RevokeReason, RotateKeyRequest, UpdateKeyRequest,
    VerifyRequest, Wait,
};
use prost_types::Timestamp;
use sea_orm::{ConnectionTrait as _, Statement, TransactionTrait as _};
use tonic::{Request, Status};

use super::refusal::invalid;
use super::verbs::mask;
use crate::harness::replicas::Told;
use crate::harness::{Caller, Credential, Replicas, Server, canary, eventually, key};
use crate::on_both_databases;

/// Far more than any of it takes.
const SOON: Duration = Duration::from_secs(60);

/// What a reply says of the replicas.
type Outcome = (Vec<ReplicaOutcome>, Option<Timestamp>);

/// Makes every change that there is, in an order that works, with that wait. Gives the names and what their replies say.
async fn every_change(admin: &Caller, wait: i32) -> Result<Vec<(&'static str, Outcome)>, Status> {
    let mut told = Vec::new();
    let mut calls = admin.admin();
    macro_rules! tell {
        ($verb:ident, $request:expr) => {{
            let reply = calls.$verb($request).await?.into_inner();
            told.push((stringify!($verb), (reply.replicas.clone(), reply.effective_everywhere_by)));
            reply
        }};
    }
    let key = Some(key("acme", "billing"));
    let made = tell!(create_key, CreateKeyRequest { key, wait, ..Default::default() });
    canary::record_secret(&made.secret);
    let key_id = made.key.expect("the key").key_id;
    let named = Key { key_id: key_id.clone(), display_name: "x".to_owned(), ..Key::default() };
    let update_mask = mask(&["display_name"]);
    tell!(update_key, UpdateKeyRequest { key: Some(named), update_mask, wait, force: false });
    let overlap = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let key_id = || key_id.clone();
    let request = RotateKeyRequest { key_id: key_id(), overlap, wait, ..Default::default() };
    canary::record_secret(&tell!(rotate_key, request).secret);
    tell!(expire_secret, ExpireSecretRequest { key_id: key_id(), number: 1, wait, force: false });
    tell!(disable_key, DisableKeyRequest { key_id: key_id(), wait, ..Default::default() });
    tell!(enable_key, EnableKeyRequest { key_id: key_id(), wait, ..Default::default() });
    let reason = RevokeReason::Unused.into();
    let revoke = || RevokeKeyRequest { key_id: key_id(), reason, wait, ..Default::default() };
    tell!(revoke_key, revoke());
    tell!(revoke_key, revoke());
    tell!(delete_key, DeleteKeyRequest { key_id: key_id(), wait, ..Default::default() });
    Ok(told)
}

/// Revokes a key. Without a deadline it waits as long as the server does.
async fn revoke(
    caller: &Caller,
    key_id: &str,
    wait: Wait,
    deadline: Option<Duration>,
) -> Result<Outcome, Status> {
    let (key_id, reason) = (key_id.to_owned(), RevokeReason::Compromised.into());
    let request = RevokeKeyRequest { key_id, reason, wait: wait.into(), ..Default::default() };
    let mut request = Request::new(request);
    if let Some(deadline) = deadline {
        request.set_timeout(deadline);
    }
    let reply = caller.admin().revoke_key(request).await?.into_inner();
    Ok((reply.replicas, reply.effective_everywhere_by))
}

/// How a replica stands to a change.
fn state_of(replicas: &[ReplicaOutcome], id: &str) -> State {
    let outcome = replicas.iter().find(|outcome| outcome.replica_id == id);
    outcome.unwrap_or_else(|| panic!("{id} is not in {replicas:?}")).state()
}

fn micros(time: &Timestamp) -> i64 {
    time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000
}

/// Whether a replica lets that credential in; `None`: it can't know.
async fn allows(caller: &Caller, credential: &Credential) -> Option<bool> {
    let answer = caller.anonymous().try_verify(credential, VerifyRequest::default()).await;
    answer.ok().map(|answer| answer.allowed)
}

on_both_databases! {
    async fn a_server_that_is_alone_confirms_every_change_itself(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        for wait in [Wait::Unspecified, Wait::None, Wait::AllReplicas] {
            let told = every_change(&admin, wait.into()).await.expect("it is a wait");
            assert_eq!(told.len(), 9);
            let mut latest = 0;
            for (verb, (replicas, by)) in told {
                assert_eq!(replicas.len(), 1, "{verb} with {wait:?}: {replicas:?}");
                assert_eq!(replicas[0].state(), State::Confirmed, "{verb} with {wait:?}");
                let by = micros(&by.expect("it is said"));
                assert!(by >= latest, "{verb} is effective before the change before it");
                latest = by;
            }
        }
    }

    async fn an_unknown_wait_changes_nothing(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let minted = admin.mint(key("acme", "billing")).await;
        for unknown in [3, -1] {
            let refused = every_change(&admin, unknown).await;
            invalid(refused, "wait", "must be a value of Wait that this server knows");
            let request = RevokeKeyRequest {
                key_id: minted.key.key_id.clone(),
                reason: 99,
                wait: unknown,
                ..Default::default()
            };
            let refused = admin.admin().revoke_key(request).await;
            assert_eq!(invalid(refused, "wait", "must be").fields(), ["reason", "wait"]);
        }
        assert!(admin.verify(&minted.credential).await.allowed);
        assert_eq!(admin.list("account_id = acme").await.unwrap().len(), 1);
    }

    async fn a_repeated_request_is_the_same_however_it_waits(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let create = |wait: Wait| {
            let (key, request_id) = (Some(key("acme", "billing")), "r-1".to_owned());
            let (mut admin, wait) = (admin.admin(), wait.into());
            async move { admin.create_key(CreateKeyRequest { key, request_id, wait }).await }
        };
        let first = create(Wait::None).await.unwrap().into_inner();
        canary::record_secret(&first.secret);
        admin.disable(&first.key.as_ref().expect("the key").key_id).await.unwrap();
        let again = create(Wait::AllReplicas).await.unwrap().into_inner();
        assert!(again.secret == first.secret && again.consistency_token == first.consistency_token);
        assert_eq!(again.replicas, first.replicas, "confirmed then as now");
        let (then, now) = (first.effective_everywhere_by, again.effective_everywhere_by);
        assert!(micros(&now.expect("said")) > micros(&then.expect("said")), "told afresh");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_all_replicas_confirmed_holds_on_all_at_once() {
    let replicas = Replicas::start(3, Told::default()).await;
    for round in 0..10 {
        let caller = replicas[round % 3].caller();
        // Nobody asks for it, and still it works everywhere: create waits for the others by default.
        let created = caller.create(key("acme", "billing"), "").await.expect("created");
        let key_id = created.key.expect("the key").key_id;
        assert!(created.replicas.iter().all(|one| one.state() == State::Confirmed));
        let credential = Credential { key_id: key_id.clone(), secret: created.secret };
        for replica in replicas.each() {
            assert_eq!(allows(&replica.caller(), &credential).await, Some(true));
        }
        let told = revoke(&caller, &key_id, Wait::AllReplicas, Some(SOON)).await;
        let (outcome, _) = told.expect("it is revoked");
        assert_eq!(outcome.len(), 3);
        assert!(outcome.iter().all(|one| one.state() == State::Confirmed), "{outcome:?}");
        assert!(outcome.is_sorted_by_key(|one| &one.replica_id), "{outcome:?}");
        for replica in replicas.each() {
            assert_eq!(allows(&replica.caller(), &credential).await, Some(false));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_says_nothing_is_pending_at_the_deadline() {
    let replicas = Replicas::start(2, Told::default()).await;
    let (here, there) = (replicas[0].id().await, replicas[1].id().await);
    let (caller, far) = (replicas[0].caller(), replicas[1].caller());
    let minted = caller.mint(key("acme", "billing")).await;
    replicas[1].freeze();
    let deadline = Duration::from_secs(2);
    let told = revoke(&caller, &minted.key.key_id, Wait::AllReplicas, Some(deadline)).await;
    let (outcome, by) = told.expect("the reply comes before the deadline");
    assert_eq!(state_of(&outcome, &here), State::Confirmed);
    assert_eq!(state_of(&outcome, &there), State::Pending);
    let last = caller.events("").await.unwrap().pop().expect("the revocation");
    let lease = micros(&by.expect("said")) - micros(&last.time.expect("it has one"));
    assert!((29_000_000..31_000_000).contains(&lease), "30 s is the lease, not {lease} µs");
    let none = revoke(&caller, &minted.key.key_id, Wait::None, None).await.expect("one look");
    assert_eq!(state_of(&none.0, &there), State::Pending);
    replicas[1].thaw();
    eventually("it hears of it", SOON, async || {
        allows(&far, &minted.credential).await == Some(false)
    })
    .await;
}

/// It would have allowed the key, had it not been stopped: what it answers when it goes on must not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_lease_is_over_allows_nothing_when_it_goes_on() {
    let replicas = Replicas::start(2, Told::default().max_staleness("1s")).await;
    let there = replicas[1].id().await;
    let (caller, far) = (replicas[0].caller(), replicas[1].caller());
    let good = caller.mint(key("acme", "other")).await;
    for _ in 0..3 {
        let minted = caller.mint(key("acme", "billing")).await;
        assert_eq!(allows(&far, &minted.credential).await, Some(true));
        replicas[1].freeze();
        let told = revoke(&caller, &minted.key.key_id, Wait::AllReplicas, Some(SOON)).await;
        let (outcome, _) = told.expect("it is revoked");
        assert_eq!(state_of(&outcome, &there), State::LeaseExpired);
        // Sent now, and read by the other as soon as it can read again.
        let asked = (0..8).map(|_| {
            let (far, credential) = (far.clone(), minted.credential.clone());
            tokio::spawn(async move { allows(&far, &credential).await })
        });
        let asked: Vec<_> = asked.collect();
        replicas[1].thaw();
        for answer in asked {
            assert_ne!(answer.await.expect("no panic"), Some(true), "from before the revocation");
        }
        replicas.all_allow(&good.credential, SOON).await;
        assert_eq!(allows(&far, &minted.credential).await, Some(false));
    }
}

/// The lease that counts is that of the row: the others may have been told to answer for longer than we.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_replicas_own_lease_counts() {
    let mut replicas = Replicas::start(1, Told::default().max_staleness("1s")).await;
    replicas.add(&Told::default().max_staleness("60s")).await.start().await;
    let there = replicas[1].id().await;
    let (caller, far) = (replicas[0].caller(), replicas[1].caller());
    let minted = caller.mint(key("acme", "billing")).await;
    assert_eq!(allows(&far, &minted.credential).await, Some(true));
    replicas[1].freeze();
    let deadline = Duration::from_secs(4);
    let told = revoke(&caller, &minted.key.key_id, Wait::AllReplicas, Some(deadline)).await;
    let (outcome, _) = told.expect("it is revoked");
    assert_eq!(state_of(&outcome, &there), State::Pending, "it may answer for a minute");
    replicas[1].thaw();
}

/// What is known of the others must be from after the change: one that started since the last look counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_has_just_come_is_waited_for() {
    let mut replicas = Replicas::start(1, Told::default()).await;
    let caller = replicas[0].caller();
    for number in 1..=2 {
        let alone = caller.create(key("acme", "billing"), "").await.expect("created");
        assert_eq!(alone.replicas.len(), number);
        let credential =
            Credential { key_id: alone.key.expect("the key").key_id, secret: alone.secret };
        replicas.add(&Told::default()).await.start().await;
        let (newest, far) = (replicas[number].id().await, replicas[number].caller());
        assert_eq!(allows(&far, &credential).await, Some(true));
        replicas[number].freeze();
        let told = revoke(&caller, &credential.key_id, Wait::None, None).await;
        let (outcome, _) = told.expect("it is revoked");
        assert_eq!(state_of(&outcome, &newest), State::Pending, "it may still allow the key");
        replicas[number].thaw();
        let told = revoke(&caller, &credential.key_id, Wait::AllReplicas, Some(SOON)).await;
        assert_eq!(state_of(&told.expect("repeated").0, &newest), State::Confirmed);
        assert_eq!(allows(&far, &credential).await, Some(false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_says_what_is_known() {
    let replicas = Replicas::start(2, Told::default()).await;
    let there = replicas[1].id().await;
    let caller = replicas[0].caller();
    let minted = caller.mint(key("acme", "billing")).await;
    replicas[1].freeze();
    let waiting = {
        let (caller, key_id) = (caller.clone(), minted.key.key_id.clone());
        tokio::spawn(async move { revoke(&caller, &key_id, Wait::AllReplicas, None).await })
    };
    eventually("it is revoked, and waits for the other", SOON, async || {
        allows(&caller, &minted.credential).await == Some(false)
    })
    .await;
    let (status, _) = replicas[0].stop().await;
    assert!(status.success(), "{status}");
    let (outcome, _) = waiting.await.expect("no panic").expect("the change is made");
    assert_eq!(state_of(&outcome, &there), State::Pending);
    replicas[1].thaw();
}

/// The change is made, so it is said to be made, also by a server that can't see it yet: polls read the rows of replicas,
/// and changes don't.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_its_own_server_can_not_see_is_pending_at_the_deadline_and_at_shutdown() {
    let replicas = Replicas::start(1, Told::default()).await;
    let (here, caller) = (replicas[0].id().await, replicas[0].caller());
    let minted = caller.mint(key("acme", "billing")).await;
    let others = [caller.mint_unwaited().await, caller.mint_unwaited().await];
    let url = replicas.store.url.as_deref().expect("on PostgreSQL");
    let around = sea_orm::Database::connect(url).await.expect("takes connections");
    let held = around.begin().await.expect("begins");
    held.execute_unprepared("LOCK TABLE replicas IN ACCESS EXCLUSIVE MODE").await.expect("locks");

    let deadline = Some(Duration::from_secs(4));
    for (wait, credential) in [Wait::None, Wait::AllReplicas].into_iter().zip(&others) {
        let told = revoke(&caller, &credential.key_id, wait, deadline).await;
        let (outcome, _) = told.expect("the reply comes before the deadline");
        assert_eq!(state_of(&outcome, &here), State::Pending, "{wait:?}");
    }
    let waiting = {
        let (caller, key_id) = (caller.clone(), minted.key.key_id.clone());
        tokio::spawn(async move { revoke(&caller, &key_id, Wait::AllReplicas, None).await })
    };
    let revoked = format!("SELECT revoke_reason FROM keys WHERE key_id = '{}'", minted.key.key_id);
    let revoked = Statement::from_string(around.get_database_backend(), revoked);
    eventually("it is revoked, as far as the database knows", SOON, async || {
        let row = around.query_one_raw(revoked.clone()).await.expect("reads").expect("a row");
        row.try_get_by_index::<Option<String>>(0).expect("text").is_some()
    })
    .await;
    let (status, _) = replicas[0].stop().await;
    assert!(status.success(), "{status}");
    let (outcome, _) = waiting.await.expect("no panic").expect("the change is made");
    assert_eq!(state_of(&outcome, &here), State::Pending);
    held.rollback().await.expect("ends");
}

/// Far more than there are places for administration requests in work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_wait_are_in_nobodys_way() {
    let replicas = Replicas::start(2, Told::default()).await;
    let caller = replicas[0].caller();
    let minted = caller.mint(key("acme", "billing")).await;
    let key_id = &minted.key.key_id;
    replicas[1].freeze();
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let caller = caller.clone();
            tokio::spawn(async move {
                let mut waiting = Vec::new();
                for _ in 0..10 {
                    let (caller, minted) = (caller.clone(), caller.mint_unwaited().await);
                    waiting.push(tokio::spawn(async move {
                        revoke(&caller, &minted.key_id, Wait::AllReplicas, None).await
                    }));
                }
                waiting
            })
        })
        .collect();
    let waiting = futures::future::join_all(waiting).await;
    let waiting: Vec<_> = waiting.into_iter().flat_map(|some| some.expect("no panic")).collect();
    eventually("all hundred are revoked", SOON, async || {
        let revoked = caller.list("state = REVOKED").await;
        revoked.is_ok_and(|revoked| revoked.len() == waiting.len())
    })
    .await;
    caller.disable(key_id).await.expect("there is room for other work");
    assert!(waiting.iter().all(|one| !one.is_finished()), "the other is still pending");
    replicas[1].thaw();
    for one in waiting {
        let (outcome, _) = one.await.expect("no panic").expect("the change is made");
        assert!(outcome.iter().all(|one| one.state() == State::Confirmed), "{outcome:?}");
    }
}

impl Caller {
    /// A new key, with nobody waiting for anybody.
    async fn mint_unwaited(&self) -> Credential {
        let (key, wait) = (Some(key("acme", "billing")), Wait::None.into());
        let request = CreateKeyRequest { key, wait, ..CreateKeyRequest::default() };
        let reply = self.admin().create_key(request).await.expect("created").into_inner();
        canary::record_secret(&reply.secret);
        Credential { key_id: reply.key.expect("the key").key_id, secret: reply.secret }
    }
}
