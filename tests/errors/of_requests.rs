//! The errors that a caller makes.

use countersign::rpc::proto::Key;
use countersign::rpc::proto::watch_audit_events_request::Start;
use tonic::Status;

use crate::harness::{Database, Server, key};
use crate::rpc::at_least::{behind, lost};
use crate::rpc::batch_verify::too_large;
use crate::rpc::watchers::slow_reader;
use crate::rpc::watching::{from, from_now};

pub async fn statuses() -> Vec<Status> {
    let server = Server::on(Database::Sqlite)
        .await
        .with_args(["--max-watchers", "1", "--watch-ring-events", "8"])
        .with_env("COUNTERSIGN_LOG", "info")
        .start()
        .await;
    let admin = server.as_admin().await;
    let made = admin.create(key("acme", "billing"), "r-1").await.unwrap().key.unwrap();
    let id = &made.key_id;
    let stale = admin.update(Key { description: "x".to_owned(), ..made.clone() }, &["description"]);
    stale.await.expect("the first update");
    let revoked = admin.mint(key("acme", "billing")).await.key.key_id;
    admin.revoke(&revoked).await.unwrap();
    let full = admin.mint(key("acme", "billing")).await.key.key_id;
    for _ in 0..2 {
        admin.rotate(&full, 60).await.unwrap();
    }
    let customer = admin.colleague("acme", &["*"]).await;
    let huge = Key { description: "x".repeat(5 * 1024 * 1024), ..made.clone() };

    let mut outcomes = vec![
        admin.get("").await.map(drop),
        admin.create(huge, "").await.map(drop),
        admin.get("nobody").await.map(drop),
        admin.expire_secret(id, 9).await.map(drop),
        admin.create(key("globex", "billing"), "r-1").await.map(drop),
        admin
            .update(Key { description: "y".to_owned(), ..made.clone() }, &["description"])
            .await
            .map(drop),
        admin.watch(from(Start::AfterRevision(1_000_000))).await.map(drop),
        admin.enable(&revoked).await.map(drop),
        admin.delete(id).await,
        admin.rotate(&full, 60).await.map(drop),
        admin.revoke(&server.admin().key_id).await.map(drop),
        admin.anonymous().list("").await.map(drop),
        customer.list("").await.map(drop),
    ];
    let minted = admin.mint(key("acme", "billing")).await;
    outcomes.push(Err(behind(&admin, &minted).await));
    outcomes.push(Err(lost(Database::Sqlite).await));
    outcomes.push(Err(too_large(&admin).await));
    outcomes.push(Err(slow_reader(&server, &admin).await.status));
    // Its place may be taken for a moment yet by the one before.
    let watching = crate::harness::eventually(
        "a place is free",
        std::time::Duration::from_secs(30),
        async || admin.watch(from_now()).await.ok(),
    )
    .await;
    outcomes.push(admin.watch(from_now()).await.map(drop));
    drop(watching);
    let numbered = outcomes.into_iter().enumerate();
    numbered
        .map(|(number, outcome)| outcome.expect_err(&format!("number {number} is refused")))
        .collect()
}
