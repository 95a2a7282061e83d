//! `KeyAdmin.CreateKey`

use std::time::Duration;

use countersign::rpc::proto::key::State;
use countersign::rpc::proto::{
    CreateKeyRequest, CreateKeyResponse, DisableKeyRequest, Environment, Key, RevokeReason,
    UpdateKeyRequest,
};
use prost::Message;
use tonic::Code;

use super::refusal::{denied, invalid, refused};
use super::verbs::{RESERVED_ACCOUNT, in_millis, key_with_scopes};
use crate::harness::{Credential, Database, Server, eventually, key};
use crate::on_both_databases;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

on_both_databases! {
    async fn a_key_is_made_as_asked(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let asked = Key {
            display_name: "Bücher 📚".to_owned(),
            description: "first line\n\tsecond line".to_owned(),
            scopes: texts(&["orders:write", "orders:read", "orders:read", "*:list"]),
            allowed_cidrs: texts(&["2001:db8::/32", "::ffff:10.0.0.0/104", "192.0.2.7"]),
            labels: [("team".to_owned(), "a \"b\"".to_owned())].into(),
            expire_time: Some(in_millis(86_400_000)),
            environment: Environment::Test.into(),
            ..key("acme", "billing")
        };
        let made = admin.mint(asked.clone()).await;

        let shown = Key {
            key_id: made.key.key_id.clone(),
            scopes: texts(&["*:list", "orders:read", "orders:write"]),
            allowed_cidrs: texts(&["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]),
            state: State::Active.into(),
            create_time: made.key.create_time,
            update_time: made.key.create_time,
            creator: server.admin().key_id,
            secrets: made.key.secrets.clone(),
            etag: made.key.etag.clone(),
            ..asked
        };
        assert_eq!(made.key, shown);
        assert!(made.key.key_id.starts_with("csk_test_") && made.key.key_id.len() == 31);
        let secret = &made.credential.secret;
        assert!(secret.starts_with("css_test_") && secret.len() == 58);
        let [version] = &made.key.secrets[..] else { panic!("one version, not {:?}", made.key) };
        assert_eq!((version.number, version.expire_time), (1, None));
        assert!(secret.ends_with(&version.hint) && version.hint.len() == 4);
        assert!(!made.key.etag.is_empty());
        assert_eq!(admin.get(&made.key.key_id).await.unwrap(), made.key, "it reads back the same");

        let [event] = &admin.events(&format!("key_id = {}", made.key.key_id)).await.unwrap()[..]
        else { panic!("one event") };
        assert_eq!(event.r#type().as_str_name(), "TYPE_KEY_CREATED");
        assert_eq!((&*event.account_id, &*event.application_id), ("acme", "billing"));
        let name = event.changes.iter().find(|change| change.field == "display_name").unwrap();
        assert_eq!((name.before.as_str(), name.after.as_str()), ("", "Bücher 📚"));
    }

    async fn a_repeated_request_id_makes_one_key(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let first = admin.create(key("acme", "billing"), "4711").await.unwrap();
        let again = admin.create(key("acme", "billing"), "4711").await.unwrap();
        let first = CreateKeyResponse { effective_everywhere_by: again.effective_everywhere_by, ..first };
        assert!(again.encode_to_vec() == first.encode_to_vec(), "the same reply, secret included");

        let other = admin.create(key("acme", "shipping"), "4711").await;
        refused(other, Code::AlreadyExists, "REQUEST_ID_REUSED");
        assert_eq!(admin.list("account_id = acme").await.unwrap().len(), 1);
        assert_eq!(admin.events("request_id = 4711").await.unwrap().len(), 1);

        let brief = Key { expire_time: Some(in_millis(1_500)), ..key("acme", "brief") };
        let first_brief = admin.create(brief.clone(), "4712").await.unwrap();
        let credential = Credential {
            key_id: first_brief.key.as_ref().unwrap().key_id.clone(),
            secret: first_brief.secret.clone(),
        };
        eventually("the key expires", Duration::from_secs(30), async || {
            !admin.verify(&credential).await.allowed
        })
        .await;
        let again = admin.create(brief.clone(), "4712").await.unwrap();
        assert!(again.secret == first_brief.secret, "the first reply, though the key has expired");
        let late = admin.create(brief, "4713").await;
        invalid(late, "key.expire_time", "must be in the future");

        let colleague = admin.colleague(RESERVED_ACCOUNT, &["countersign.keys:write"]).await;
        let theirs = colleague.create(key("acme", "billing"), "4711").await.unwrap();
        assert_ne!(theirs.key.unwrap().key_id, first.key.unwrap().key_id, "ids are each caller's own");
        let without = admin.mint(key("acme", "billing")).await;
        assert!(admin.verify(&without.credential).await.allowed);
    }
}

#[tokio::test]
async fn a_secret_is_refused_in_every_text_field_and_not_repeated() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let made = admin.mint(key("acme", "billing")).await;
    let secret = made.credential.secret.clone();
    let base = key("acme", "billing");
    let label = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    let note = format!("the secret is {secret}.");
    let fields = [
        ("key.account_id", Key { account_id: secret.clone(), ..base.clone() }),
        ("key.application_id", Key { application_id: secret.clone(), ..base.clone() }),
        ("key.display_name", Key { display_name: secret.clone(), ..base.clone() }),
        ("key.description", Key { description: note.clone(), ..base.clone() }),
        ("key.labels", Key { labels: label("a", &secret), ..base.clone() }),
        ("key.labels", Key { labels: label(&secret, "a"), ..base.clone() }),
        ("key.scopes", Key { scopes: vec![secret.clone()], ..base.clone() }),
        ("key.allowed_cidrs", Key { allowed_cidrs: vec![secret.clone()], ..base.clone() }),
    ];
    for (field, key) in fields {
        let Err(status) = admin.create(key, "").await else { panic!("{field} takes a secret") };
        assert!(!format!("{status:?}").contains(&secret), "{field} is repeated");
        invalid(Err::<(), _>(status), field, "holds a secret");
    }
    let named = Key { key_id: made.credential.key_id.clone(), display_name: note.clone(), ..base };
    let update = UpdateKeyRequest {
        key: Some(named),
        update_mask: Some(prost_types::FieldMask { paths: vec!["display_name".to_owned()] }),
        ..Default::default()
    };
    invalid(admin.admin().update_key(update).await, "key.display_name", "holds a secret");
    let key_id = made.credential.key_id.clone();
    let disable = DisableKeyRequest { key_id, comment: note, ..Default::default() };
    invalid(admin.admin().disable_key(disable).await, "comment", "holds a secret");
}

#[tokio::test]
async fn limits_are_reached_and_not_passed() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let scopes = |count: usize| (0..count).map(|n| format!("s{n}")).collect();
    let cidrs = |count: usize| (0..count).map(|n| format!("10.0.{n}.0/24")).collect();
    let labels = |count: usize| (0..count).map(|n| (format!("l{n}"), String::new())).collect();
    let value = |length: usize| [("team".to_owned(), "ü".repeat(length))].into();
    let base = key("acme", "billing");

    let full = Key {
        account_id: "a".repeat(64),
        application_id: "Z".repeat(64),
        display_name: "ü".repeat(128),
        description: "ü".repeat(2_048),
        scopes: scopes(1_000),
        allowed_cidrs: cidrs(100),
        labels: labels(64),
        ..base.clone()
    };
    admin.mint(full).await;
    admin.mint(Key { labels: value(256), ..base.clone() }).await;

    let too_much = [
        ("key.account_id", Key { account_id: "a".repeat(65), ..base.clone() }, "up to 63 more"),
        ("key.application_id", Key { application_id: "a".repeat(65), ..base.clone() }, "up to 63"),
        ("key.display_name", Key { display_name: "ü".repeat(129), ..base.clone() }, "at most 128"),
        ("key.description", Key { description: "x".repeat(2_049), ..base.clone() }, "at most 2048"),
        ("key.scopes[1000]", Key { scopes: scopes(1_001), ..base.clone() }, "at most 1000 scopes"),
        (
            "key.allowed_cidrs[100]",
            Key { allowed_cidrs: cidrs(101), ..base.clone() },
            "at most 100",
        ),
        ("key.labels", Key { labels: labels(65), ..base.clone() }, "at most 64"),
        ("key.labels[team]", Key { labels: value(257), ..base.clone() }, "at most 256"),
    ];
    for (field, key, words) in too_much {
        invalid(admin.create(key, "").await, field, words);
    }
    // 256 of these are 32 KiB.
    let scope = |n: usize| format!("{}:{}:{n:03}", "a".repeat(63), "b".repeat(60));
    let long = Key { scopes: (0..300).map(scope).collect(), ..base.clone() };
    let refusal = invalid(admin.create(long, "").await, "key.scopes[256]", "32768 bytes in total");
    assert_eq!(refusal.fields().len(), 1);

    let huge = Key { description: "x".repeat(300 * 1024), ..base.clone() };
    refused(admin.create(huge, "").await, Code::ResourceExhausted, "REQUEST_TOO_LARGE")
        .says("at most 262144 bytes");
    // Two bytes each on the way, a hundred in memory.
    let many =
        Key { secrets: vec![countersign::rpc::proto::key::Secret::default(); 1_000_000], ..base };
    refused(admin.create(many, "").await, Code::ResourceExhausted, "REQUEST_TOO_LARGE");
    assert_eq!(admin.list("").await.unwrap().len(), 3, "the two that fit, and the administrator's");
}

#[tokio::test]
async fn bad_input_is_named_and_makes_nothing() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let base = || key("acme", "billing");
    let scope = |scope: &str| Key { scopes: texts(&["a:read", scope]), ..base() };
    let cidr = |cidr: &str| Key { allowed_cidrs: texts(&["10.0.0.0/8", cidr]), ..base() };
    let label = |name: &str, value: &str| Key {
        labels: [(name.to_owned(), value.to_owned())].into(),
        ..base()
    };
    let expiry = |expire_time| Key { expire_time: Some(expire_time), ..base() };
    let mut bad = vec![
        ("key.environment", Key { environment: 0, ..base() }, "ENVIRONMENT_LIVE or"),
        ("key.environment", Key { environment: 7, ..base() }, "ENVIRONMENT_LIVE or"),
        ("key.display_name", Key { display_name: String::new(), ..base() }, "must not be empty"),
        ("key.display_name", Key { display_name: " ".to_owned(), ..base() }, "must not be empty"),
        ("key.description", Key { description: "\u{1b}[31m".to_owned(), ..base() }, "control"),
        ("key.description", Key { description: "a\r\nb".to_owned(), ..base() }, "control"),
        ("key.labels", label("Team", ""), "[a-z0-9]"),
        ("key.labels", label("", "x"), "[a-z0-9]"),
        ("key.labels", label("team-", "x"), "[a-z0-9]"),
        ("key.labels[team]", label("team", "a\nb"), "control characters"),
        ("key.expire_time", expiry(in_millis(-1_000)), "must be in the future"),
        ("key.expire_time", expiry(prost_types::Timestamp { seconds: 0, nanos: -1 }), "0 to 999"),
        ("key.expire_time", expiry(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }), "9999"),
    ];
    for name in ["a\nb", "a\0b", "\u{7f}", "a\u{85}b"] {
        let key = Key { display_name: name.to_owned(), ..base() };
        bad.push(("key.display_name", key, "must not hold control characters"));
    }
    for account in ["", "_a", "a b", "a/b", "ä", "a\n", "-"] {
        bad.push((
            "key.account_id",
            Key { account_id: account.to_owned(), ..base() },
            "must be a letter",
        ));
        bad.push((
            "key.application_id",
            Key { application_id: account.to_owned(), ..base() },
            "must be a letter",
        ));
    }
    for bad_scope in ["", "A:read", "a::b", "a:read*", "a b", ":", "a:b:c:d:e:f:g:h:i", "ä"] {
        bad.push(("key.scopes[1]", scope(bad_scope), ""));
    }
    bad.push(("key.scopes[1]", scope("countersign.keys:everything"), "are reserved"));
    bad.push(("key.scopes[1]", scope("countersign.*"), "hold no '*'"));
    for bad_cidr in
        ["", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08x", "host", "::1/129", "10.0.0/8"]
    {
        bad.push(("key.allowed_cidrs[1]", cidr(bad_cidr), "must be"));
    }
    bad.push(("key.allowed_cidrs[1]", cidr("10.1.2.3/8"), "did you mean 10.0.0.0/8"));
    for (field, key, words) in bad {
        invalid(admin.create(key, "").await, field, words);
    }
    for request_id in ["a b", "ü", "\n", &"r".repeat(65)] {
        invalid(admin.create(base(), request_id).await, "request_id", "1 to 64 letters");
    }
    invalid(admin.admin().create_key(CreateKeyRequest::default()).await, "key", "must be given");

    assert_eq!(admin.list("").await.unwrap().len(), 1, "only the first administrator's key");
    assert_eq!(admin.events("").await.unwrap().len(), 1);
}

#[tokio::test]
async fn everything_wrong_is_named_at_once() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let wrong = Key {
        key_id: "csk_live_1".to_owned(),
        state: State::Active.into(),
        revoke_reason: RevokeReason::Abuse.into(),
        create_time: Some(in_millis(0)),
        update_time: Some(in_millis(0)),
        creator: "me".to_owned(),
        secrets: vec![countersign::rpc::proto::key::Secret::default()],
        etag: "e".to_owned(),
        scopes: texts(&["A", "b", "C"]),
        ..Key::default()
    };
    let refusal = invalid(admin.create(wrong, "").await, "key.etag", "is output only");
    let output_only = [
        "key_id",
        "state",
        "revoke_reason",
        "create_time",
        "update_time",
        "creator",
        "secrets",
        "etag",
    ];
    for field in output_only {
        assert!(
            refusal.violations().contains(&(&format!("key.{field}"), "is output only")),
            "{field}"
        );
    }
    for field in
        ["account_id", "application_id", "environment", "display_name", "scopes[0]", "scopes[2]"]
    {
        assert!(refusal.fields().contains(&format!("key.{field}").as_str()), "{field}");
    }
    assert_eq!(refusal.fields().len(), 14, "{:?}", refusal.fields());
}

#[tokio::test]
async fn nobody_hands_out_what_they_do_not_hold() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let weaker = admin.colleague(RESERVED_ACCOUNT, &["countersign.keys:write", "*"]).await;
    weaker.mint(key_with_scopes("acme", &["*", "countersign.keys:write"])).await;
    for account in ["acme", RESERVED_ACCOUNT] {
        let stronger = weaker.try_mint(key_with_scopes(account, &["countersign.keys:read"])).await;
        denied(stronger, "reserved scope countersign.keys:read, which you do not hold");
    }
    let customer = admin.colleague("acme", &["*", "*:*"]).await;
    denied(
        customer.try_mint(key("acme", "billing")).await,
        "needs the scope countersign.keys:write",
    );
}

#[tokio::test]
async fn an_accounts_admin_makes_keys_of_that_account_alone() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let acme = admin.colleague("acme", &["countersign.keys:write"]).await;
    let made = acme.mint(key("acme", "billing")).await;
    assert!(admin.verify(&made.credential).await.allowed);
    for foreign in ["globex", RESERVED_ACCOUNT, "Acme"] {
        denied(acme.try_mint(key(foreign, "billing")).await, "not yours to administer");
    }
    let test = Key {
        environment: Environment::Test.into(),
        ..key_with_scopes("acme", &["countersign.keys:write"])
    };
    let Credential { key_id, secret } = admin.mint(test).await.credential;
    let tester = admin.with(Credential { key_id, secret });
    refused(
        tester.try_mint(key("acme", "billing")).await,
        Code::Unauthenticated,
        "UNAUTHENTICATED",
    )
    .says("refused");
}
