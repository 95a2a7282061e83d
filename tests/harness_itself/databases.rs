//! Clusters that can be killed and promoted, and the pooler.

use std::time::Duration;

use futures::future::join_all;
use sea_orm::{ConnectionTrait as _, Database};

use crate::harness::{Cluster, Pooler, Proxy, postgres};

/// Makes a table of one row, which says what a server knows.
async fn prepare(primary: &Cluster) {
    primary.execute("CREATE TABLE known (n int); INSERT INTO known VALUES (1)").await;
}

async fn write(primary: &Cluster, number: i64) {
    primary.execute(&format!("UPDATE known SET n = {number}")).await;
}

async fn known(cluster: &Cluster) -> i64 {
    cluster.number("SELECT n FROM known").await
}

#[tokio::test]
async fn a_synchronous_standby_has_what_was_acknowledged() {
    let mut primary = Cluster::start().await;
    let standby = Cluster::standby_of(&primary, primary.address()).await;
    primary.wait_for_standbys(true).await;
    prepare(&primary).await;
    write(&primary, 2).await;
    primary.crash();
    standby.promote().await;
    assert_eq!(known(&standby).await, 2);
    write(&standby, 3).await;
    assert_eq!(known(&standby).await, 3, "it takes writes");
    primary.restart().await;
    assert_eq!(known(&primary).await, 2, "the old primary has what it had before its crash");
}

#[tokio::test]
async fn an_asynchronous_standby_that_was_cut_off_has_lost_what_came_after() {
    let mut primary = Cluster::start().await;
    prepare(&primary).await;
    let proxy = Proxy::to(primary.address()).await;
    let standby = Cluster::standby_of(&primary, proxy.address()).await;
    proxy.cut_off();
    write(&primary, 2).await;
    primary.crash();
    proxy.refuse();
    proxy.heal();
    standby.promote().await;
    assert_eq!(known(&standby).await, 1);
}

#[tokio::test]
async fn a_pooler_shares_few_connections_among_many_sessions() {
    let url = postgres::new_database().await;
    let pooler = Pooler::before(&url).await;
    let sessions = (0..12).map(|_| Database::connect(pooler.url()));
    let sessions = join_all(sessions).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    // All stay connected: by sessions, the ninth would never get a turn.
    let asked = join_all(sessions.iter().map(|session| session.execute_unprepared("SELECT 1")));
    let asked = tokio::time::timeout(Duration::from_secs(10), asked).await.expect("all get a turn");
    asked.into_iter().collect::<Result<Vec<_>, _>>().expect("each works");
}
