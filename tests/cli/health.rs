//! `countersign health`: what a probe asks by gRPC. The answer is on standard output, and in the exit code.

use std::time::Duration;

use super::{Terminal, one_line_of_failure};
use crate::harness::replicas::Told;
use crate::harness::{Replicas, Server, eventually, tools};
use crate::on_both_databases;

const SERVING: &str = "countersign.v1.KeyVerifier  serving\ncountersign.v1.KeyAdmin  serving\n";

on_both_databases! {
    async fn a_server_that_serves_says_so_to_anybody(db: Database) {
        let server = Server::start(db).await;
        let anybody = Terminal::without_credential(&server);
        assert_eq!(anybody.command(["health"]).run().succeeded().stdout, SERVING);
        drop(server);
        let nobody = one_line_of_failure(&anybody.command(["health"]).run());
        assert!(nobody.starts_with("UNAVAILABLE: no server answers at http://127.0.0.1:"), "{nobody}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_a_lease_says_no() {
    let replicas = Replicas::start(1, Told::default().max_staleness("1s")).await;
    let ask = || {
        let endpoint = format!("http://{}", replicas[0].address());
        tools::countersign().arg("health").arg("--endpoint").arg(endpoint).run()
    };
    assert_eq!(ask().succeeded().stdout, SERVING);
    replicas[0].network.cut_off();
    eventually("it says that it does not serve", Duration::from_secs(30), async || {
        ask().status.code() == Some(1)
    })
    .await;
    let said = ask();
    assert_eq!(
        (said.stdout, said.stderr),
        (SERVING.replace("serving", "not serving"), String::new())
    );
    replicas[0].network.heal();
    eventually("it serves again", Duration::from_secs(30), async || ask().status.success()).await;
}
