//! `KeyVerifier.BatchVerify`

use countersign::rpc::proto::batch_verify_response::result::Result as Entry;
use countersign::rpc::proto::verify_request::Presented;
use countersign::rpc::proto::{BatchVerifyRequest, DenialReason, VerifyRequest, VerifyResponse};
use prost::Message;
use tonic::{Code, Status};

use super::refusal::{denied, invalid, refused, unauthenticated};
use super::verbs::key_with_scopes;
use crate::harness::{Caller, Credential, Database, Server, key};
use crate::on_both_databases;

pub(super) fn about(credential: &Credential) -> VerifyRequest {
    VerifyRequest { presented: Some(Presented::Token(credential.token())), ..Default::default() }
}

async fn ask(caller: &Caller, requests: Vec<VerifyRequest>) -> Result<Vec<Entry>, Status> {
    let reply = caller.verifier().batch_verify(BatchVerifyRequest { requests }).await?;
    let results = reply.into_inner().results.into_iter();
    Ok(results.map(|result| result.result.expect("an answer or an error")).collect())
}

#[track_caller]
fn answer(entry: &Entry) -> &VerifyResponse {
    match entry {
        Entry::Response(response) => response,
        Entry::Error(error) => panic!("an error: {}", error.message),
    }
}

/// An error in the place of an answer, as the call's own would be.
#[track_caller]
pub(super) fn status(entry: &Entry) -> Status {
    let Entry::Error(error) = entry else { panic!("an answer") };
    Status::with_details(error.code.into(), &*error.message, error.encode_to_vec().into())
}

/// A thousand times the same question about a key with so many scopes that its answers are too long
/// for one reply.
pub async fn with_long_answers(admin: &Caller) -> Vec<VerifyRequest> {
    let scopes: Vec<String> =
        (0..1_000).map(|n| format!("reports:number-{n:04}:of-long-name")).collect();
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let minted = admin.mint(key_with_scopes("acme", &scopes)).await;
    vec![about(&minted.credential); 1_000]
}

/// What is said of the last of them.
pub async fn too_large(admin: &Caller) -> Status {
    let entries = ask(admin, with_long_answers(admin).await).await.expect("a reply");
    status(entries.last().expect("entries"))
}

#[tokio::test]
async fn a_reply_is_never_longer_than_clients_read() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let mut requests = with_long_answers(&admin).await;
    let mut replies = 0;
    while !requests.is_empty() {
        let entries = ask(&admin, requests.clone()).await.expect("a reply that this client reads");
        assert_eq!(entries.len(), requests.len(), "one result for each request");
        let answered =
            entries.iter().take_while(|entry| matches!(entry, Entry::Response(_))).count();
        assert!(answered == requests.len() || answered > 50, "{answered} answers of 32 KiB");
        assert!(entries[..answered].iter().all(|entry| answer(entry).allowed));
        for entry in &entries[answered..] {
            refused::<()>(Err(status(entry)), Code::ResourceExhausted, "REPLY_TOO_LARGE")
                .says("the batch's reply would be too large; ask for these again");
        }
        requests.drain(..answered);
        replies += 1;
    }
    assert!(replies > 5, "{replies} replies for 33 MB");
}

on_both_databases! {
    async fn every_entry_gets_its_own_answer_in_its_place(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let (good, revoked) = (admin.mint(key("acme", "a")).await, admin.mint(key("acme", "a")).await);
        admin.revoke(&revoked.key.key_id).await.unwrap();
        let bad_ip = VerifyRequest { client_ip: "nowhere".to_owned(), ..about(&good.credential) };
        let wanting = VerifyRequest { required_scopes: vec!["a:b".to_owned()], ..about(&good.credential) };
        let requests = vec![
            about(&revoked.credential),
            bad_ip,
            about(&good.credential),
            VerifyRequest::default(),
            wanting,
        ];
        let entries = ask(&admin.anonymous(), requests).await.unwrap();
        assert_eq!(entries.len(), 5);
        assert_eq!(answer(&entries[0]).denial_reason(), DenialReason::Revoked);
        invalid::<()>(Err(status(&entries[1])), "client_ip", "must be an IPv4 or IPv6 address");
        assert!(answer(&entries[2]).allowed);
        assert_eq!(answer(&entries[3]).denial_reason(), DenialReason::Missing);
        assert_eq!(answer(&entries[4]).missing_scopes, ["a:b"]);
    }
}

#[tokio::test]
async fn a_batch_holds_one_to_a_thousand() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let mut minted = Vec::new();
    for _ in 0..3 {
        minted.push(admin.mint(key("acme", "a")).await);
    }
    for count in [1, 64, 65, 1_000] {
        let requests = (0..count).map(|n| about(&minted[n % 3].credential)).collect();
        let entries = ask(&admin, requests).await.unwrap();
        assert_eq!(entries.len(), count);
        for (n, entry) in entries.iter().enumerate() {
            let answer = answer(entry);
            assert!(answer.allowed);
            assert_eq!(answer.key.as_ref().unwrap().key_id, minted[n % 3].key.key_id, "place {n}");
        }
    }
    for count in [0, 1_001, 5_000] {
        let requests = vec![about(&minted[0].credential); count];
        let words = format!("must be 1 to 1000, are {count}");
        invalid(ask(&admin, requests).await, "requests", &words);
    }
    let huge =
        vec![VerifyRequest { account_id: "x".repeat(5 * 1024 * 1024), ..Default::default() }];
    refused(ask(&admin, huge).await, Code::ResourceExhausted, "REQUEST_TOO_LARGE");
}

#[tokio::test]
async fn a_service_that_is_bound_to_an_account_proves_no_others_credentials() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let acme = admin.colleague("acme", &["countersign.verify:call"]).await;
    let (own, foreign) = (admin.mint(key("acme", "a")).await, admin.mint(key("globex", "a")).await);
    let entries =
        ask(&acme, vec![about(&foreign.credential), about(&own.credential)]).await.unwrap();
    assert_eq!(answer(&entries[0]).denial_reason(), DenialReason::InvalidCredential);
    assert!(answer(&entries[0]).key.is_none() && answer(&entries[1]).allowed);
}

#[tokio::test]
async fn where_it_is_required_callers_show_who_they_are() {
    let required = ["--verify-auth", "required"];
    let server = Server::on(Database::Sqlite).await.with_args(required).start().await;
    let admin = server.as_admin().await;
    let customer = admin.mint(key("acme", "a")).await.credential;
    let requests = vec![about(&customer)];
    unauthenticated(ask(&admin.anonymous(), requests.clone()).await, "header is missing");
    denied(ask(&admin.with(customer), requests.clone()).await, "countersign.verify:call");
    assert!(answer(&ask(&admin, requests).await.unwrap()[0]).allowed);
}
