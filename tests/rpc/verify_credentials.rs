//! The credential that `KeyVerifier.Verify` is asked about: what it can look like, and what is said of
//! one that proves nothing.

use countersign::rpc::proto::verify_request::Presented;
use countersign::rpc::proto::{
    Credential as Pair, DenialReason, Environment, VerifyRequest, VerifyResponse,
};
use prost::Message;

use crate::harness::{Caller, Credential, Database, Server, key};

fn pair(key_id: &str, secret: &str) -> Option<Presented> {
    let (key_id, secret) = (key_id.to_owned(), secret.to_owned());
    Some(Presented::Credential(Pair { key_id, secret }))
}

fn token(token: &str) -> Option<Presented> {
    Some(Presented::Token(token.to_owned()))
}

async fn ask(caller: &Caller, request: VerifyRequest) -> VerifyResponse {
    caller.verifier().verify(request).await.expect("a denial is an answer").into_inner()
}

async fn reason(caller: &Caller, presented: Option<Presented>) -> DenialReason {
    let answer = ask(caller, VerifyRequest { presented, ..Default::default() }).await;
    assert_eq!(answer.allowed, answer.denial_reason() == DenialReason::Unspecified);
    answer.denial_reason()
}

#[tokio::test]
async fn what_is_missing_or_malformed_is_told_apart() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let Credential { key_id: id, secret } = admin.mint(key("acme", "billing")).await.credential;
    let missing = [
        None,
        pair("", ""),
        pair(&id, ""),
        pair("", &secret),
        token(""),
        token(&format!("{id}.")),
        token(&format!(".{secret}")),
    ];
    for presented in missing {
        assert_eq!(reason(&admin, presented).await, DenialReason::Missing);
    }
    let malformed = [
        pair(&secret, &id),
        pair(&secret, &secret),
        pair(&id, &id),
        pair(&format!("{id}.{secret}"), &secret),
        pair(&id, &format!("{id}.{secret}")),
        pair(&id, &format!("{secret}x")),
        pair(&id, &secret[..57]),
        pair(&id, &format!(" {secret}")),
        pair(&id, &secret.to_uppercase().replacen("CSS_LIVE", "css_live", 1)),
        pair("csk_live_7n42DGM5Tflk9n8mt7Fhc8", &secret), // 2^128
        pair("csk_live_zzzzzzzzzzzzzzzzzzzzzz", &secret),
        pair(&id.replacen("live", "prod", 1), &secret),
        pair(&id, &format!("css_live_{}{}", "z".repeat(43), &secret[52..])), // above 2^256
        pair("a b", &secret),
        pair(&id, "naïve"),
        pair(&"k".repeat(129), &secret),
        pair(&id, &"s".repeat(513)),
        token(&id),
        token(&secret),
        token(&format!("{secret}.{id}")),
        token(&format!("{id}:{secret}")),
        token(&format!("{id}.{secret}.")),
    ];
    for (index, presented) in malformed.into_iter().enumerate() {
        assert_eq!(reason(&admin, presented).await, DenialReason::Malformed, "number {index}");
    }
    for at in "css_live_".len()..secret.len() {
        let other = if secret.as_bytes()[at] == b'7' { "8" } else { "7" };
        let mut typo = secret.clone();
        typo.replace_range(at..=at, other);
        assert_eq!(reason(&admin, pair(&id, &typo)).await, DenialReason::Malformed, "digit {at}");
    }
    for foreign in [pair("AKIA123", "not-of-our-brand"), pair(&id, "hunter2"), token("a.b.c")] {
        assert_eq!(reason(&admin, foreign).await, DenialReason::InvalidCredential);
    }
}

/// Of the whole answer only the staleness may differ: its number of nanoseconds, and so of bytes.
#[tokio::test]
async fn an_unknown_id_and_a_wrong_secret_get_the_same_bytes() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let [one, other] =
        [admin.mint(key("acme", "billing")).await, admin.mint(key("acme", "billing")).await];
    let unknown = pair("csk_live_0000000000000000000000", &one.credential.secret);
    let wrong = pair(&one.key.key_id, &other.credential.secret);
    let (mut answers, mut tokens) = (Vec::new(), Vec::new());
    for presented in [unknown, wrong] {
        // Whatever else is asked, nothing about the key may show through.
        let request = VerifyRequest {
            presented,
            explain: true,
            required_scopes: vec!["a:read".to_owned()],
            account_id: "globex".to_owned(),
            environment: Environment::Test.into(),
            ..Default::default()
        };
        let mut answer = ask(&admin, request).await;
        assert_eq!(answer.denial_reason(), DenialReason::InvalidCredential);
        assert!(
            answer.key.is_none() && answer.checks.is_empty() && answer.missing_scopes.is_empty()
        );
        tokens.push(std::mem::take(&mut answer.consistency_token));
        assert!(answer.staleness.take().is_some());
        answers.push(answer.encode_to_vec());
    }
    assert_eq!(answers[0], answers[1]);
    // Nothing was written between the two, so both rest on the same state of the store.
    assert!(!tokens[0].is_empty() && tokens[0] == tokens[1], "{tokens:?}");
    let only_the_reason = VerifyResponse {
        denial_reason: DenialReason::InvalidCredential.into(),
        ..Default::default()
    };
    assert_eq!(answers[0], only_the_reason.encode_to_vec());
}
