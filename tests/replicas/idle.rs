//! What a replica costs its database when nothing happens: a few short statements a second, none of which is in
//! anybody's way.

use std::time::{Duration, Instant};

use super::{SOON, mint};
use crate::harness::replicas::Told;
use crate::harness::{Cluster, Replicas, Store, eventually};

const STATEMENTS_PER_SECOND: u32 = 6;
/// More than a quarter of the lease, so that a beat is among them.
const WATCHED_FOR: Duration = Duration::from_secs(10);
/// What a statement of a replica is known by in the log of its database.
const OF_A_REPLICA: &str = "countersign LOG:  ";

/// What replicas have sent. One message may hold several statements.
fn statements(log: &str) -> Vec<String> {
    let of_replica = log.lines().filter_map(|line| Some(line.split_once(OF_A_REPLICA)?.1));
    let messages = of_replica.filter_map(|text| {
        let sent = text.starts_with("statement: ") || text.starts_with("execute ");
        sent.then(|| text.split_once(": ").expect("checked").1)
    });
    let statements = messages.flat_map(|message| message.split(';')).map(str::trim);
    statements.filter(|statement| !statement.is_empty()).map(str::to_lowercase).collect()
}

fn is_poll(statement: &str) -> bool {
    statement.starts_with("select ") && statement.contains("from audit_events")
}

/// Whether a statement reads, or frames one that does, or is a replica's word about itself.
fn is_harmless(statement: &str, replica: &str) -> bool {
    let locks = ["pg_advisory", "for update", "for share", "for no key", "for key", "nextval"];
    if locks.iter().any(|lock| statement.contains(lock)) {
        return false;
    }
    let own_beat = statement.starts_with("update replicas set")
        && statement.contains(&format!("where id = '{replica}'"));
    let harmless = ["select ", "begin", "commit", "rollback", "set local ", "show "];
    own_beat || harmless.iter().any(|start| statement.starts_with(start))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_replica_asks_little_and_stands_in_nobodys_way() {
    let cluster = Cluster::start().await;
    let store = Store::fresh_at(cluster.new_database().await).await;
    let replicas = Replicas::on(store, 1, Told::default()).await;
    let good = mint(&replicas[0].caller(), 1).await.remove(0);
    replicas.all_allow(&good, SOON).await;

    // What a start does once (a first look over the whole log, say) is over.
    eventually("only polls are left", SOON, async || {
        let all = statements(&cluster.log());
        all.len() > 10 && all[all.len() - 10..].iter().all(|statement| is_poll(statement))
    })
    .await;

    let before = statements(&cluster.log()).len();
    let began = Instant::now();
    tokio::time::sleep(WATCHED_FOR).await;
    let watched = began.elapsed();
    let all = statements(&cluster.log());
    let idle = &all[before..];

    let most = f64::from(STATEMENTS_PER_SECOND) * watched.as_secs_f64();
    println!("{} statements in {watched:?}", idle.len());
    assert!(idle.len() as f64 <= most, "{} statements in {watched:?}: {idle:#?}", idle.len());
    assert!(idle.len() > 20, "the replica does not follow the log: {idle:#?}");
    let own = replicas[0].id().await;
    for statement in idle {
        assert!(is_harmless(statement, &own), "{statement}");
    }
    assert!(
        idle.iter().any(|statement| statement.starts_with("update")),
        "no beat came: {idle:#?}"
    );
    // The other way round: it is not in the way of whoever holds the writer's lock, nor is it held up.
    let held = cluster.connect("countersign").await;
    let transaction = sea_orm::TransactionTrait::begin(&held).await.expect("begins");
    sea_orm::ConnectionTrait::execute_unprepared(
        &transaction,
        "LOCK TABLE audit_events IN SHARE ROW EXCLUSIVE MODE; LOCK TABLE keys IN SHARE ROW EXCLUSIVE MODE",
    )
    .await
    .expect("nobody holds what a writer needs");
    let polls = statements(&cluster.log()).len();
    eventually("it polls on", SOON, async || statements(&cluster.log()).len() > polls + 10).await;
    assert!(replicas[0].caller().verify(&good).await.allowed);
    transaction.rollback().await.expect("ends");
}
