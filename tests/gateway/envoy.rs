//! The real Envoy, with `examples/envoy/envoy.yaml`.

use std::sync::Arc;
use std::time::Duration;

use countersign::rpc::proto::Key;

use super::{Kind, Setup, serving, story, two_headers, with_routes};
use crate::harness::{Database, Proxy, Server, Store, eventually, key, postgres};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_opens_what_it_was_made_for() {
    let setup = Setup::of(Kind::Envoy).await;
    story::a_key_opens_what_it_was_made_for(&setup, Kind::Envoy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_says_who_they_are_by_themselves() {
    let setup = Setup::of(Kind::Envoy).await;
    story::nobody_says_who_they_are(&setup).await;

    // Not under a name that we don't use either, nor spelt so that some servers read it as ours.
    let credential = setup.mint("acme", &["transactions:read"]).await.credential;
    let [key, secret] = two_headers(&credential);
    let with = |header: &str| {
        let args = ["--header", &key, "--header", &secret, "--header", header];
        setup.ask(&args, "/v1/transactions").status
    };
    assert_eq!(with("X-Countersign-Role: admin"), 200);
    assert_eq!(setup.service.the_one().header("x-countersign-role"), None);
    assert_eq!(with("X_Countersign_Account: globex"), 400);
    assert_eq!(setup.service.arrived().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_a_good_credential_passes() {
    let setup = Setup::of(Kind::Envoy).await;
    story::nothing_but_a_good_credential_passes(&setup, Kind::Envoy).await;
    story::nothing_is_read_in_two_ways(&setup).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_passes_once_the_server_is_gone() {
    story::nobody_passes_once_the_server_is_gone(Setup::of(Kind::Envoy).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_of_envoy_says_what_it_needs() {
    let setup = Setup::of(Kind::Envoy).await;
    let reader = setup.mint("acme", &["reports:read"]).await.credential;
    let other = Key { scopes: vec!["reports:read".to_owned()], ..key("acme", "crm") };
    let other = setup.admin.mint(other).await.credential;
    assert_eq!(setup.ask_as(&reader, "GET", "/v1/reports/2026").status, 200);
    let refused = setup.ask_as(&other, "GET", "/v1/reports/2026");
    assert_eq!((refused.status, refused.reason().as_str()), (403, "APPLICATION_MISMATCH"));
    let without = setup.mint("acme", &["transactions:read"]).await.credential;
    assert_eq!(setup.ask_as(&without, "GET", "/v1/reports/2026").reason(), "SCOPE_MISSING");
    // What is switched off needs nothing.
    assert_eq!(setup.ask(&[], "/healthz").status, 200);

    // Other filters, and here the access log, are told who called.
    let wanted = format!("GET /v1/reports/2026 200 account=acme key={}", reader.key_id);
    eventually("the access log says who called", SOON, async || {
        setup.gateway.lines_so_far().any(|line| line == wanted)
    })
    .await;
}

/// Everything here comes from 127.0.0.2, and says otherwise. For 127.0.0.1 Envoy would write another address of the
/// machine into `x-forwarded-for`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_believed_from_trusted_hops_only() {
    let bound = |network: &str| Key {
        scopes: vec!["transactions:read".to_owned()],
        allowed_cidrs: vec![network.to_owned()],
        ..key("acme", "billing")
    };
    for (hops, chain, passes) in [
        ("0", "203.0.113.7", "127.0.0.0/8"),
        ("1", "203.0.113.7, 198.51.100.4", "198.51.100.4/32"),
        ("2", "203.0.113.7, 198.51.100.4, 192.0.2.1", "198.51.100.4/32"),
    ] {
        let server =
            serving(Kind::Envoy).await.with_args(["--gateway-trusted-hops", hops]).start().await;
        let setup = Setup::before(Kind::Envoy, server, |text| text).await;
        let here = setup.admin.mint(bound(passes)).await.credential;
        let forged = setup.admin.mint(bound("203.0.113.7/32")).await.credential;
        let header = format!("X-Forwarded-For: {chain}");
        for (credential, status) in [(here, 200), (forged, 403)] {
            let [key, secret] = two_headers(&credential);
            let mut args = vec!["--interface", "127.0.0.2"];
            args.extend([&key, &secret, &header].iter().flat_map(|one| ["--header", one.as_str()]));
            let reply = setup.ask(&args, "/v1/transactions");
            assert_eq!(reply.status, status, "{hops} hops, {chain}: {reply:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_presents_a_credential_of_its_own_where_one_is_asked_for() {
    let server = serving(Kind::Envoy).await.with_args(["--verify-auth", "required"]).start().await;
    let admin = server.as_admin().await;
    let scopes = vec!["countersign.verify:call".to_owned()];
    let own = admin.mint(Key { scopes, ..key("countersign", "gateway") }).await.credential;
    let minted = Key { scopes: vec!["transactions:read".to_owned()], ..key("acme", "billing") };
    let minted = admin.mint(minted).await.credential;

    let setup = Setup::before(Kind::Envoy, server, |text| text).await;
    let refused = setup.ask_as(&minted, "GET", "/v1/transactions");
    assert_eq!(refused.status, 503, "without one nothing is known: {refused:?}");

    let line = "                        envoy_grpc: { cluster_name: countersign }\n";
    let metadata = format!(
        "{line}                        initial_metadata:\n                          \
         - {{ key: authorization, value: \"Bearer {}\" }}\n                          \
         - {{ key: x-secret-key, value: \"{}\" }}\n",
        own.key_id, own.secret
    );
    let Setup { server, .. } = setup;
    let setup = Setup::before(Kind::Envoy, server, |text| {
        assert!(text.contains(line), "the example has that line");
        text.replace(line, &metadata)
    })
    .await;
    assert_eq!(setup.ask_as(&minted, "GET", "/v1/transactions").status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_lease_lets_nobody_through() {
    let store = Store::fresh(Database::Postgres).await;
    let url = store.url.clone().expect("a PostgreSQL");
    let network = Proxy::to(postgres::address_of(&url)).await;
    let seen = Arc::new(store.seen_through(postgres::through(&url, network.address())));
    let builder =
        with_routes(Server::on_store(seen), Kind::Envoy).with_args(["--max-staleness", "5s"]);
    let setup = Setup::before(Kind::Envoy, builder.start().await, |text| text).await;
    let credential = setup.mint("acme", &["transactions:read"]).await.credential;
    let asked = || setup.ask_as(&credential, "GET", "/v1/transactions");
    eventually("the key passes", SOON, async || asked().status == 200).await;

    network.go_silent();
    let refused = eventually("the lease has ended", SOON, async || {
        Some(asked()).filter(|reply| reply.status != 200)
    });
    let refused = refused.await;
    assert_eq!((refused.status, refused.reason().as_str()), (503, "UNAVAILABLE"), "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("1"));

    network.heal();
    eventually("the key passes again", SOON, async || asked().status == 200).await;
}
