//! Every reason for which a credential is denied, in the order of the checks.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::rpc::proto::verify_request::Presented;
use countersign::rpc::proto::{
    Credential as Pair, DenialReason, Environment, Key, VerifyRequest, VerifyResponse,
};

use crate::harness::{Caller, Server, eventually, key};
use crate::on_both_databases;
use crate::rpc::verbs::in_millis;

const SOON: Duration = Duration::from_secs(30);

/// What the contract can say.
fn all_reasons() -> BTreeSet<DenialReason> {
    (1..).map_while(|number| DenialReason::try_from(number).ok()).collect()
}

async fn ask(caller: &Caller, request: &VerifyRequest) -> VerifyResponse {
    caller.verifier().verify(request.clone()).await.expect("a denial is an answer").into_inner()
}

/// Breaks one thing more at each step, from the last check to the first and never mends one: each
/// reason has to win over all those that are checked after it.
struct Breaking {
    caller: Caller,
    request: VerifyRequest,
    reached: Vec<DenialReason>,
}

impl Breaking {
    async fn now(&mut self, expected: DenialReason) {
        let answer = ask(&self.caller, &self.request).await;
        assert_eq!(answer.denial_reason(), expected);
        assert!(!answer.allowed);
        let is_proven = expected > DenialReason::InvalidCredential;
        assert_eq!(
            answer.key.is_some(),
            is_proven,
            "{expected:?}: a key is shown once it is proven"
        );
        assert_eq!(answer.checks.is_empty(), !is_proven, "{expected:?}: and explained");
        let scopes = expected == DenialReason::ScopeMissing;
        assert_eq!(!answer.missing_scopes.is_empty(), scopes, "{expected:?}");
        self.reached.push(expected);
    }

    fn present(&mut self, key_id: &str, secret: &str) {
        let pair = Pair { key_id: key_id.to_owned(), secret: secret.to_owned() };
        self.request.presented = Some(Presented::Credential(pair));
    }
}

on_both_databases! {
    async fn every_reason_is_reached_and_the_first_check_that_fails_is_named(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let minted = admin.mint(Key {
            scopes: vec!["a:read".to_owned()],
            allowed_cidrs: vec!["10.0.0.0/8".to_owned()],
            ..key("acme", "billing")
        }).await;
        let (id, secret) = (&minted.key.key_id, &minted.credential.secret);
        let request = VerifyRequest {
            required_scopes: vec!["a:read".to_owned()],
            client_ip: "10.1.2.3".to_owned(),
            account_id: "acme".to_owned(),
            application_id: "billing".to_owned(),
            environment: Environment::Live.into(),
            explain: true,
            ..VerifyRequest::default()
        };
        let mut breaking = Breaking { caller: admin.anonymous(), request, reached: Vec::new() };
        breaking.present(id, secret);
        assert!(ask(&admin, &breaking.request).await.allowed, "nothing is broken yet");

        breaking.request.required_scopes.push("a:write".to_owned());
        breaking.now(DenialReason::ScopeMissing).await;
        breaking.request.client_ip = "192.0.2.1".to_owned();
        breaking.now(DenialReason::IpNotAllowed).await;
        breaking.request.application_id = "shipping".to_owned();
        breaking.now(DenialReason::ApplicationMismatch).await;
        breaking.request.account_id = "globex".to_owned();
        breaking.now(DenialReason::AccountMismatch).await;
        breaking.request.environment = Environment::Test.into();
        breaking.now(DenialReason::EnvironmentMismatch).await;
        admin.expire_secret(id, 1).await.unwrap();
        breaking.now(DenialReason::SecretExpired).await;
        let expiring = Key { key_id: id.clone(), expire_time: Some(in_millis(1_000)), ..Key::default() };
        admin.update(expiring, &["expire_time"]).await.unwrap();
        eventually("the key expires", SOON, async || {
            ask(&admin, &breaking.request).await.denial_reason() == DenialReason::Expired
        })
        .await;
        breaking.now(DenialReason::Expired).await;
        admin.disable(id).await.unwrap();
        breaking.now(DenialReason::Disabled).await;
        admin.revoke(id).await.unwrap();
        breaking.now(DenialReason::Revoked).await;
        admin.delete(id).await.unwrap();
        breaking.now(DenialReason::InvalidCredential).await;
        breaking.present(id, &secret[..57]);
        breaking.now(DenialReason::Malformed).await;
        breaking.present(id, "");
        breaking.now(DenialReason::Missing).await;

        assert_eq!(breaking.reached.into_iter().collect::<BTreeSet<_>>(), all_reasons());
    }
}
