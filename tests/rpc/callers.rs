//! How callers say who they are, and how it goes wrong. Seen through `ListKeys`; all of `KeyAdmin`
//! passes the same door.

use countersign::rpc::proto::key_admin_client::KeyAdminClient;
use countersign::rpc::proto::{Environment, Key, ListKeysRequest};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::refusal::{denied, unauthenticated};
use super::verbs::{ALL_RESERVED, RESERVED_ACCOUNT, in_millis, key_with_scopes};
use crate::harness::{Credential, Database, Server};

struct Door(KeyAdminClient<Channel>);

impl Door {
    async fn of(server: &Server) -> Self {
        let endpoint = Endpoint::from_shared(server.endpoint()).unwrap();
        Self(KeyAdminClient::new(endpoint.connect().await.unwrap()))
    }

    /// Knocks with exactly these headers.
    async fn knock(&self, headers: &[(&'static str, &str)]) -> Result<(), Status> {
        let mut request = Request::new(ListKeysRequest::default());
        for (name, value) in headers {
            let value = AsciiMetadataValue::try_from(value.as_bytes()).expect("a header's value");
            request.metadata_mut().append(AsciiMetadataKey::from_static(name), value);
        }
        self.0.clone().list_keys(request).await.map(drop)
    }

    async fn knock_as(&self, credential: &Credential) -> Result<(), Status> {
        let bearer = format!("Bearer {}", credential.key_id);
        self.knock(&[("authorization", &bearer), ("x-secret-key", &credential.secret)]).await
    }
}

#[tokio::test]
async fn a_credential_comes_in_two_headers_or_in_one() {
    let server = Server::start(Database::Sqlite).await;
    let door = Door::of(&server).await;
    let Credential { key_id, secret } = server.admin();
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let (id, whole) = (format!("{scheme} {key_id}"), format!("{scheme} {key_id}.{secret}"));
        door.knock(&[("authorization", &id), ("x-secret-key", &secret)]).await.unwrap();
        door.knock(&[("authorization", &whole)]).await.unwrap();
    }
}

#[tokio::test]
async fn anything_else_is_turned_away_without_an_echo() {
    let server = Server::start(Database::Sqlite).await;
    let door = Door::of(&server).await;
    let Credential { key_id, secret } = server.admin();
    let (id, whole) = (format!("Bearer {key_id}"), format!("Bearer {key_id}.{secret}"));
    let (basic, basic_whole) = (format!("Basic {key_id}"), format!("Basic {key_id}.{secret}"));
    let swapped = format!("Bearer {secret}");
    let (authorization, key) = ("authorization", "x-secret-key");
    let cases: [(&[(&'static str, &str)], &str); 17] = [
        (&[], "the authorization header is missing"),
        (&[(key, &secret)], "the authorization header is missing"),
        (&[(authorization, &id)], "the x-secret-key header is missing"),
        (&[(authorization, &id), (key, "")], "half of the credential is empty"),
        (
            &[(authorization, &id), (authorization, &id), (key, &secret)],
            "more than one authorization",
        ),
        (&[(authorization, &whole), (authorization, &whole)], "more than one authorization"),
        (&[(authorization, &id), (key, &secret), (key, &secret)], "more than one x-secret-key"),
        (&[(authorization, &whole), (key, &secret)], "malformed"),
        (&[(authorization, &basic), (key, &secret)], "must be 'Bearer"),
        (&[(authorization, &basic_whole)], "must be 'Bearer"),
        (&[(authorization, &key_id), (key, &secret)], "must be 'Bearer"),
        (&[(authorization, "Bearer"), (key, &secret)], "must be 'Bearer"),
        (&[(authorization, ""), (key, &secret)], "must be 'Bearer"),
        (&[(authorization, &swapped), (key, &key_id)], "malformed"),
        (&[(authorization, &id), (key, &secret[..57])], "malformed"),
        (&[(authorization, &id), (key, "hunter2")], "was refused"),
        (
            &[(authorization, "Bearer csk_live_0000000000000000000000"), (key, &secret)],
            "was refused",
        ),
    ];
    for (headers, words) in cases {
        let outcome = door.knock(headers).await;
        let status = outcome.as_ref().expect_err("turned away");
        let said = format!("{status:?}");
        assert!(!said.contains(&key_id) && !said.contains(&secret[9..40]), "{}", status.code());
        unauthenticated(outcome, words);
    }
}

/// All that a refusal says: code, message, details and headers.
fn every_byte(outcome: Result<(), Status>) -> (Code, String, Vec<u8>, Vec<String>) {
    let status = outcome.expect_err("turned away");
    let headers = status.metadata().clone().into_headers();
    let headers = headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    (status.code(), status.message().to_owned(), status.details().to_owned(), headers)
}

#[tokio::test]
async fn an_unknown_id_and_a_wrong_secret_are_turned_away_with_the_same_bytes() {
    let server = Server::start(Database::Sqlite).await;
    let (admin, door) = (server.as_admin().await, Door::of(&server).await);
    let other = admin.mint(key_with_scopes("acme", &[])).await.credential;
    let wrong = Credential { secret: other.secret.clone(), ..server.admin() };
    let nobody = "csk_live_0000000000000000000000".to_owned();
    let unknown = Credential { key_id: nobody, ..server.admin() };
    let wrong = every_byte(door.knock_as(&wrong).await);
    assert_eq!(wrong.0, Code::Unauthenticated);
    assert_eq!(wrong, every_byte(door.knock_as(&unknown).await));
    // Nor does a good secret of a key that was revoked say more.
    admin.revoke(&other.key_id).await.unwrap();
    assert_eq!(wrong, every_byte(door.knock_as(&other).await));
}

#[tokio::test]
async fn a_key_that_could_not_pass_a_check_of_ours_administers_nothing() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let door = Door::of(&server).await;
    let strong = || key_with_scopes(RESERVED_ACCOUNT, &ALL_RESERVED);
    let elsewhere = Key { allowed_cidrs: vec!["192.0.2.0/24".to_owned()], ..strong() };
    let here = Key { allowed_cidrs: vec!["127.0.0.0/8".to_owned()], ..strong() };
    let test = Key { environment: Environment::Test.into(), ..strong() };
    let short_lived = Key { expire_time: Some(in_millis(3_600_000)), ..strong() };
    door.knock_as(&admin.mint(here).await.credential).await.expect("from an address of its own");
    door.knock_as(&admin.mint(short_lived).await.credential).await.expect("before it expires");
    for key in [elsewhere, test] {
        let credential = admin.mint(key).await.credential;
        unauthenticated(door.knock_as(&credential).await, "the credential was refused");
    }
    let disabled = admin.mint(strong()).await;
    admin.disable(&disabled.key.key_id).await.unwrap();
    unauthenticated(door.knock_as(&disabled.credential).await, "the credential was refused");
    let rotated = admin.mint(strong()).await;
    admin.rotate(&rotated.key.key_id, 3_600).await.unwrap();
    door.knock_as(&rotated.credential).await.expect("during the overlap");
    admin.rotate(&rotated.key.key_id, 0).await.unwrap();
    unauthenticated(door.knock_as(&rotated.credential).await, "the credential was refused");
}

#[tokio::test]
async fn a_customers_wildcard_administers_nothing() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let wildcards = ["*", "*:*", "*:*:*"];
    for account in ["acme", RESERVED_ACCOUNT] {
        let customer = admin.mint(key_with_scopes(account, &wildcards)).await;
        let (id, customer) = (customer.key.key_id, admin.with(customer.credential));
        denied(customer.get(&id).await, "countersign.keys:read");
        denied(customer.list("").await, "countersign.keys:read");
        denied(customer.rotate(&id, 0).await, "countersign.keys:write");
        denied(customer.enable(&id).await, "countersign.keys:write");
        denied(customer.delete(&id).await, "countersign.keys:write");
        denied(customer.disable(&id).await, "countersign.keys:revoke");
        denied(customer.revoke(&id).await, "countersign.keys:revoke");
        denied(customer.expire_secret(&id, 1).await, "countersign.keys:revoke");
        denied(customer.events("").await, "countersign.audit:read");
        denied(customer.try_mint(key_with_scopes(account, &["*"])).await, "countersign.keys:write");
    }
}
