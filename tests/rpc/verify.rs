//! `KeyVerifier.Verify`. That every denial is reached, and in which order, is in `errors::denials`;
//! what a credential can look like, in `verify_credentials`.

use countersign::rpc::proto::verify_request::Presented;
use countersign::rpc::proto::{DenialReason, Environment, Key, VerifyRequest, VerifyResponse};
use tonic::{Code, Status};

use super::refusal::{denied, invalid, refused, unauthenticated};
use super::verbs::{in_millis, key_with_scopes};
use crate::harness::{Caller, Credential, Database, Server, key};
use crate::on_both_databases;

fn token(token: &str) -> Option<Presented> {
    Some(Presented::Token(token.to_owned()))
}

async fn ask(caller: &Caller, request: VerifyRequest) -> Result<VerifyResponse, Status> {
    caller.verifier().verify(request).await.map(tonic::Response::into_inner)
}

on_both_databases! {
    async fn a_good_credential_is_allowed_and_told_what_it_is(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let anyone = admin.anonymous();
        let expire_time = Some(in_millis(3_600_000));
        let minted = admin.mint(Key {
            scopes: vec!["orders:*".to_owned(), "a:read".to_owned()],
            expire_time,
            ..key("acme", "billing")
        }).await;
        let everything = VerifyRequest {
            required_scopes: vec!["orders:eu:write".to_owned(), "a:read".to_owned()],
            account_id: "acme".to_owned(),
            application_id: "billing".to_owned(),
            environment: Environment::Live.into(),
            client_ip: "2001:db8::1".to_owned(),
            presented: token(&minted.credential.token()),
            ..VerifyRequest::default()
        };
        let answer = ask(&anyone, everything).await.unwrap();
        assert!(answer.allowed);
        let known = answer.key.unwrap();
        assert_eq!((&*known.key_id, &*known.account_id), (&*minted.key.key_id, "acme"));
        assert_eq!((&*known.application_id, known.environment()), ("billing", Environment::Live));
        assert_eq!(known.scopes, ["a:read", "orders:*"]);
        assert_eq!((known.expire_time, known.secret_number), (expire_time, 1));
        assert!(answer.checks.is_empty() && answer.missing_scopes.is_empty());
        assert_eq!((answer.superseded_time, answer.denial_reason), (None, 0));
        assert!(!answer.consistency_token.is_empty() && answer.staleness.is_some());
        assert!(anyone.verify(&minted.credential).await.allowed, "as a pair, asking for nothing");
    }
}

#[tokio::test]
async fn an_explanation_shows_every_check_also_after_the_first_that_failed() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let minted = admin
        .mint(Key {
            scopes: vec!["a:read".to_owned()],
            allowed_cidrs: vec!["10.0.0.0/8".to_owned()],
            ..key("acme", "billing")
        })
        .await;
    let request = VerifyRequest {
        account_id: "globex".to_owned(),
        required_scopes: ["b:read", "a:read", "a:write"].map(str::to_owned).into(),
        explain: true,
        ..Default::default()
    };
    let answer = admin.verify_with(&minted.credential, request.clone()).await;
    assert_eq!(answer.denial_reason(), DenialReason::AccountMismatch, "the first that failed");
    let checks: Vec<_> = answer.checks.iter().map(|check| (check.check(), check.passed)).collect();
    assert_eq!(
        checks,
        [
            (DenialReason::Revoked, true),
            (DenialReason::Disabled, true),
            (DenialReason::Expired, true),
            (DenialReason::SecretExpired, true),
            (DenialReason::EnvironmentMismatch, true),
            (DenialReason::AccountMismatch, false),
            (DenialReason::ApplicationMismatch, true),
            (DenialReason::IpNotAllowed, false),
            (DenialReason::ScopeMissing, false),
        ]
    );
    assert!(answer.missing_scopes.is_empty(), "scopes are not the reason");
    let request = VerifyRequest {
        account_id: "acme".to_owned(),
        client_ip: "10.1.2.3".to_owned(),
        explain: false,
        ..request
    };
    let answer = admin.verify_with(&minted.credential, request).await;
    assert_eq!(answer.denial_reason(), DenialReason::ScopeMissing);
    assert_eq!(answer.missing_scopes, ["b:read", "a:write"], "in the order of the request");
    assert!(answer.checks.is_empty(), "nobody asked for an explanation");
}

#[tokio::test]
async fn a_client_address_is_the_same_in_every_spelling() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let minted = admin
        .mint(Key {
            allowed_cidrs: vec!["10.0.0.0/8".to_owned(), "2001:db8::/32".to_owned()],
            ..key("acme", "billing")
        })
        .await;
    for (client_ip, allowed) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("::ffff:0a01:0203", true),
        ("2001:DB8:0::1", true),
        ("11.0.0.1", false),
        ("::ffff:11.0.0.1", false),
        ("::10.1.2.3", false),
        ("2001:db9::1", false),
        ("", false),
    ] {
        let request = VerifyRequest { client_ip: client_ip.to_owned(), ..Default::default() };
        let answer = admin.verify_with(&minted.credential, request).await;
        assert_eq!(answer.allowed, allowed, "{client_ip:?}");
        let expected = if allowed { DenialReason::Unspecified } else { DenialReason::IpNotAllowed };
        assert_eq!(answer.denial_reason(), expected);
    }
}

#[tokio::test]
async fn a_test_key_never_passes_by_omission() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let test = Key { environment: Environment::Test.into(), ..key("acme", "billing") };
    let (test, live) = (admin.mint(test).await, admin.mint(key("acme", "billing")).await);
    let answer = admin.verify(&test.credential).await;
    assert_eq!(answer.denial_reason(), DenialReason::EnvironmentMismatch);
    assert_eq!(answer.key.unwrap().environment(), Environment::Test);
    let in_test = VerifyRequest { environment: Environment::Test.into(), ..Default::default() };
    assert!(admin.verify_with(&test.credential, in_test.clone()).await.allowed);
    assert!(!admin.verify_with(&live.credential, in_test).await.allowed);
}

#[tokio::test]
async fn a_malformed_request_is_an_error_that_names_every_field() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let credential = admin.mint(key_with_scopes("acme", &["*"])).await.credential;
    let good = VerifyRequest { presented: token(&credential.token()), ..Default::default() };
    for client_ip in
        ["10.0.0.1:80", "[::1]", "fe80::1%eth0", "10.0.0", "host", " 10.0.0.1", "010.0.0.1"]
    {
        let request = VerifyRequest { client_ip: client_ip.to_owned(), ..good.clone() };
        invalid(ask(&admin, request).await, "client_ip", "without port, brackets or zone");
    }
    for (scope, words) in
        [("", "empty"), ("a:*", "no '*'"), ("A", "segment 1"), ("a::b", "segment 2")]
    {
        let required_scopes = vec!["a".to_owned(), scope.to_owned()];
        let request = VerifyRequest { required_scopes, ..good.clone() };
        invalid(ask(&admin, request).await, "required_scopes[1]", words);
    }
    let scopes = |count: usize| (0..count).map(|n| format!("s{n}")).collect::<Vec<_>>();
    let most = VerifyRequest { required_scopes: scopes(100), ..good.clone() };
    assert!(ask(&admin, most).await.unwrap().allowed);
    let too_many = VerifyRequest { required_scopes: scopes(101), ..good.clone() };
    invalid(ask(&admin, too_many).await, "required_scopes", "at most 100, are 101");

    let all_wrong = VerifyRequest {
        client_ip: "x".to_owned(),
        account_id: "a b".to_owned(),
        application_id: "-".to_owned(),
        environment: 9,
        required_scopes: vec!["*".to_owned()],
        ..Default::default()
    };
    let refusal = invalid(ask(&admin, all_wrong).await, "environment", "ENVIRONMENT_LIVE");
    let mut fields = refusal.fields();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["account_id", "application_id", "client_ip", "environment", "required_scopes[0]"]
    );
}

#[tokio::test]
async fn a_service_that_is_bound_to_an_account_proves_no_others_credentials() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let acme = admin.colleague("acme", &["countersign.verify:call"]).await;
    let (own, foreign) = (admin.mint(key("acme", "a")).await, admin.mint(key("globex", "a")).await);
    assert!(acme.verify(&own.credential).await.allowed);
    let explained = VerifyRequest { explain: true, ..Default::default() };
    for beyond in [foreign.credential, server.admin()] {
        let answer = acme.verify_with(&beyond, explained.clone()).await;
        assert_eq!(answer.denial_reason(), DenialReason::InvalidCredential);
        assert!(
            answer.key.is_none() && answer.checks.is_empty() && answer.superseded_time.is_none()
        );
        assert!(admin.verify(&beyond).await.allowed, "to others it is as good as ever");
    }
}

#[tokio::test]
async fn where_it_is_required_callers_show_who_they_are() {
    let required = ["--verify-auth", "required"];
    let server = Server::on(Database::Sqlite).await.with_args(required).start().await;
    let admin = server.as_admin().await;
    let customer = admin.mint(key("acme", "billing")).await.credential;
    let request = VerifyRequest { presented: token(&customer.token()), ..Default::default() };
    unauthenticated(ask(&admin.anonymous(), request.clone()).await, "header is missing");
    denied(ask(&admin.with(customer), request.clone()).await, "countersign.verify:call");
    let service = admin.colleague("countersign", &["countersign.verify:call"]).await;
    assert!(ask(&service, request).await.unwrap().allowed);
    denied(service.list("").await, "needs the scope countersign.keys:read");
}

#[tokio::test]
async fn where_it_is_not_required_a_bad_credential_is_refused_all_the_same() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let [one, other] = [admin.mint(key("a", "a")).await, admin.mint(key("a", "a")).await];
    let mixed = Credential { secret: other.credential.secret, ..one.credential.clone() };
    unauthenticated(ask(&admin.with(mixed), VerifyRequest::default()).await, "was refused");
    let huge =
        VerifyRequest { presented: token(&"x".repeat(5 * 1024 * 1024)), ..Default::default() };
    refused(ask(&admin, huge).await, Code::ResourceExhausted, "REQUEST_TOO_LARGE");
    assert!(admin.verify(&one.credential).await.allowed, "the connection goes on");
}
