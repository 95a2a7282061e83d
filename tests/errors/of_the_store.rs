//! The errors that come from the database, on the real one.

use std::sync::Arc;
use std::time::Duration;

use countersign::rpc::proto::CreateKeyRequest;
use tonic::{Code, Status};

use super::beside::Beside;
use super::wire;
use crate::harness::{Database, Proxy, Server, Store, eventually, key, postgres};
use crate::on_both_databases;
use crate::rpc::refusal::refused;

const SOON: Duration = Duration::from_secs(30);
/// The key of the writer's lock on PostgreSQL: "csignlog" in ASCII.
const WRITERS_LOCK: i64 = 0x6373_6967_6e6c_6f67;

pub async fn statuses() -> Vec<Status> {
    vec![
        reply_forgotten().await,
        internal().await,
        store_full().await,
        deadline_exceeded().await,
        unavailable().await,
    ]
}

async fn reply_forgotten() -> Status {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let made = admin.create(key("acme", "billing"), "r-1").await.unwrap().key.unwrap();
    let beside = Beside::of(server.store()).await;
    let ten_minutes = 10 * 60 * 1_000_000;
    beside.run(&format!("UPDATE replies SET create_time = create_time - {ten_minutes}")).await;

    let status = admin.create(key("acme", "billing"), "r-1").await.expect_err("it is forgotten");
    let refusal = refused::<()>(Err(status.clone()), Code::AlreadyExists, "REPLY_FORGOTTEN");
    assert_eq!(refusal.metadata("key_id"), made.key_id);
    assert_eq!(admin.list("account_id = acme").await.unwrap().len(), 1, "and not made again");
    let reused = admin.create(key("acme", "shipping"), "r-1").await;
    refused(reused, Code::AlreadyExists, "REQUEST_ID_REUSED");
    let seven_days = 7 * 24 * 60 * 60 * 1_000_000_i64;
    beside.run(&format!("UPDATE replies SET create_time = create_time - {seven_days}")).await;
    admin.create(key("acme", "billing"), "r-1").await.expect("after a week the id is free");
    status
}

async fn internal() -> Status {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let id = admin.mint(key("acme", "billing")).await.key.key_id;
    let beside = Beside::of(server.store()).await;
    beside.run(&format!("UPDATE keys SET account_id = 'globex' WHERE key_id = '{id}'")).await;
    let status =
        admin.get(&id).await.expect_err("a row that was changed from outside is not shown");
    refused::<()>(Err(status.clone()), Code::Internal, "INTERNAL");
    assert_eq!(status.message(), "internal error");
    let details = String::from_utf8_lossy(status.details()).into_owned();
    assert!(!details.contains("seal") && !details.contains(&id), "{details}");
    status
}

/// PostgreSQL itself says that the disk is full; what makes it say so is a trigger.
async fn store_full() -> Status {
    let server = Server::start(Database::Postgres).await;
    let admin = server.as_admin().await;
    let minted = admin.mint(key("acme", "billing")).await;
    let beside = Beside::of(server.store()).await;
    beside
        .run(
            "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$",
        )
        .await;
    let trigger = "CREATE TRIGGER no_room BEFORE INSERT ON audit_events EXECUTE FUNCTION no_room()";
    beside.run(trigger).await;

    let status = admin.disable(&minted.key.key_id).await.expect_err("there is no room");
    let refusal = refused::<()>(Err(status.clone()), Code::ResourceExhausted, "STORE_FULL");
    refusal.says("out of space");
    assert_eq!(admin.get(&minted.key.key_id).await.unwrap(), minted.key, "nothing half done");
    assert!(admin.verify(&minted.credential).await.allowed, "verification goes on");
    beside.run("DROP TRIGGER no_room ON audit_events").await;
    admin.disable(&minted.key.key_id).await.expect("room again, without a restart");
    status
}

async fn deadline_exceeded() -> Status {
    let server = Server::start(Database::Postgres).await;
    let admin = server.as_admin().await;
    let mut impatient = wire::admin_with_timeout(&server, "200m").await;
    let beside = Beside::of(server.store()).await;
    beside.run(&format!("SELECT pg_advisory_lock({WRITERS_LOCK})")).await;
    let request = CreateKeyRequest { key: Some(key("acme", "billing")), ..Default::default() };
    let status = impatient.create_key(request).await.expect_err("somebody else is writing");
    refused::<()>(Err(status.clone()), Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert!(admin.list("account_id = acme").await.unwrap().is_empty());

    beside.run(&format!("SELECT pg_advisory_unlock({WRITERS_LOCK})")).await;
    eventually("the work that nobody waits for is done", SOON, async || {
        admin.list("account_id = acme").await.unwrap().len() == 1
    })
    .await;
    status
}

async fn unavailable() -> Status {
    let mut store = Store::fresh(Database::Postgres).await;
    let url = store.url.take().expect("PostgreSQL has a URL");
    let proxy = Proxy::to(postgres::address_of(&url)).await;
    store.url = Some(postgres::through(&url, proxy.address()));
    let server = Server::on_store(Arc::new(store)).start().await;
    let admin = server.as_admin().await;
    let minted = admin.mint(key("acme", "billing")).await;

    proxy.refuse();
    let status = admin.get(&minted.key.key_id).await.expect_err("the database is gone");
    let refusal = refused::<()>(Err(status.clone()), Code::Unavailable, "UNAVAILABLE");
    assert!(refusal.retry_delay().is_some_and(|delay| delay > Duration::ZERO));
    let change = admin.disable(&minted.key.key_id).await;
    refused(change, Code::Unavailable, "UNAVAILABLE");
    assert!(admin.verify(&minted.credential).await.allowed, "verification goes on for a while");
    proxy.heal();
    eventually("the database is back", SOON, async || {
        admin.disable(&minted.key.key_id).await.is_ok()
    })
    .await;
    status
}

on_both_databases! {
    async fn whoever_waits_too_long_for_the_writers_lock_is_told_when_to_come_back(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let minted = admin.mint(key("acme", "billing")).await;
        let beside = Beside::of(server.store()).await;
        let (lock, unlock) = match db {
            Database::Sqlite => ("BEGIN IMMEDIATE".to_owned(), "ROLLBACK".to_owned()),
            Database::Postgres => (
                format!("SELECT pg_advisory_lock({WRITERS_LOCK})"),
                format!("SELECT pg_advisory_unlock({WRITERS_LOCK})"),
            ),
        };
        beside.run(&lock).await;
        let refusal = refused(admin.disable(&minted.key.key_id).await, Code::ResourceExhausted, "OVERLOADED");
        assert!(refusal.retry_delay().is_some_and(|delay| delay > Duration::ZERO));
        assert_eq!(admin.get(&minted.key.key_id).await.unwrap(), minted.key, "reading goes on");
        assert!(admin.verify(&minted.credential).await.allowed, "so does verification");
        beside.run(&unlock).await;
        admin.disable(&minted.key.key_id).await.expect("the lock is free");
    }
}
