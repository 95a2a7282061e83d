//! `KeyAdmin` on a listener of its own.

use countersign::rpc::proto::VerifyRequest;
use tonic::Code;

use super::refusal::refused;
use crate::harness::{Caller, Database, Server, key, tools};

async fn apart() -> Server {
    Server::on(Database::Sqlite).await.with_args(["--admin-listen", "127.0.0.1:0"]).start().await
}

#[tokio::test]
async fn each_listener_serves_its_own_and_not_the_others() {
    let server = apart().await;
    let verifying = server.as_admin().await;
    let administering = Caller::connect(&server.admin_endpoint(), Some(server.admin())).await;

    let minted = administering.mint(key("acme", "billing")).await;
    assert!(verifying.verify(&minted.credential).await.allowed);
    administering.revoke(&minted.key.key_id).await.expect("revoked");
    assert!(!verifying.verify(&minted.credential).await.allowed, "it is one server");

    let status = verifying.get(&minted.key.key_id).await.expect_err("not served here");
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    let status = administering
        .try_verify(&minted.credential, VerifyRequest::default())
        .await
        .expect_err("not served here");
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    // Whoever has no credential is not told what is served.
    let anonymous = verifying.anonymous().get(&minted.key.key_id).await;
    refused(anonymous, Code::Unauthenticated, "UNAUTHENTICATED");
}

#[tokio::test]
async fn each_listener_describes_what_it_serves() {
    let server = apart().await;
    let list = |address: &str| {
        tools::grpcurl().args(["-plaintext", address, "list"]).run().succeeded().stdout
    };
    let verifying = list(server.address());
    assert!(verifying.contains("countersign.v1.KeyVerifier"), "{verifying}");
    assert!(!verifying.contains("countersign.v1.KeyAdmin"), "{verifying}");
    let address = server.admin_endpoint();
    let administering = list(address.trim_start_matches("http://"));
    assert!(administering.contains("countersign.v1.KeyAdmin"), "{administering}");
    for other in ["countersign.v1.KeyVerifier", "envoy.service.auth"] {
        assert!(!administering.contains(other), "{administering}");
    }
    assert!(administering.contains("grpc.health.v1.Health"), "{administering}");
}
