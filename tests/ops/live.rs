//! The alert rules in a real Prometheus, on a real server.

use std::time::Duration;

use crate::harness::{Database, Server, eventually, key, tools};
use crate::telemetry::prometheus::Prometheus;

const SOON: Duration = Duration::from_secs(60);

/// They are about how long something takes, which is no affair of a test's.
const ABOUT_TIME: [&str; 3] =
    ["CountersignLeaseRunningOut", "CountersignVerifySlow", "CountersignAuditAppendSlow"];

/// The alerts that fire, or would if things stayed as they are.
fn near(prometheus: &Prometheus) -> Option<Vec<String>> {
    let alerts = prometheus.alerts()?;
    assert!(alerts.len() > 20, "only {} alerts", alerts.len());
    let near = alerts
        .into_iter()
        .filter(|(name, state)| state != "inactive" && !ABOUT_TIME.contains(&name.as_str()));
    Some(near.map(|(name, _)| name).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_alert_is_near_while_a_server_is_well_and_it_is_missed_when_it_is_gone() {
    let mut server = Server::start(Database::Sqlite).await;
    let rules = tools::in_repository("ops/alerts.yaml");
    let prometheus = Prometheus::with_rules(&server.http(), &rules).await;
    let admin = server.as_admin().await;
    let good = admin.mint(key("acme", "billing")).await.credential;
    assert!(admin.verify(&good).await.allowed);
    prometheus.finds("countersign_ready", 1.0).await;
    prometheus.finds("countersign_audit_check_faults", 0.0).await;
    prometheus.finds(r#"sum(countersign_verifications_total{outcome="allowed"})"#, 1.0).await;
    eventually("no alert is near", SOON, async || near(&prometheus) == Some(Vec::new())).await;

    server.kill9();
    let gone = ["CountersignNoneReady", "CountersignReplicaDown"];
    eventually("the server is missed", SOON, async || {
        near(&prometheus).is_some_and(|near| near == gone)
    })
    .await;
}
