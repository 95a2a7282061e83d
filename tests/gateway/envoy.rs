//! The real Envoy, with `examples/envoy/envoy.yaml`.

use std::sync::Arc;
use std::time::Duration;

use countersign::rpc::proto::Key;

use super::{Kind, Setup, serving, serving_also, story, two_headers, with_routes};
use crate::harness::{
    Caller, Credential, Database, Proxy, Server, Store, eventually, key, postgres,
};

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
    let with = |path: &str, header: &str| setup.ask_saying(&credential, path, &[header]).status;
    for header in FORGED {
        assert_eq!(with("/v1/transactions", header), 200);
        assert!(!setup.service.the_one().mentions("forged"), "{header}");
    }
    assert_eq!(with("/v1/transactions", "X_Countersign_Account: forged"), 400);
    // Not where nobody is asked either; and there the credential goes no further too.
    for header in FORGED {
        assert_eq!(with("/healthz", header), 200);
        let arrived = setup.service.the_one();
        assert!(!arrived.mentions("forged"), "{header}");
        assert!(!arrived.mentions(&credential.secret));
        assert!(!arrived.mentions(&credential.key_id));
    }
    assert_eq!(setup.service.arrived().len(), 0);
}

/// What forged names are given by, that servers behind CGI and its like read as ours.
const FORGED: [&str; 5] = [
    "X-Countersign-Account: forged",
    "X-Countersign-Role: forged",
    "X.Countersign.Account: forged",
    "X-Countersign~Key.Id: forged",
    "X!Countersign-Scopes: forged",
];

/// An Envoy that leaves it all to Countersign.
fn leaving_it_to_countersign(text: String) -> String {
    let (before, rest) =
        text.split_once("                early_header_mutation").expect("it is there");
    let (_, after) = rest.split_once("                access_log:").expect("it comes next");
    let (underscores, text) =
        ("headers_with_underscores_action", format!("{before}                access_log:{after}"));
    assert!(text.contains(underscores));
    text.replace(&format!("{underscores}: REJECT_REQUEST"), &format!("{underscores}: ALLOW"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_say_under_our_names_is_taken_away_by_countersign_alone() {
    let server = serving_also(Kind::Envoy, story::OPEN_ROUTE).await.start().await;
    let setup = Setup::before(Kind::Envoy, server, leaving_it_to_countersign).await;
    story::nobody_says_who_they_are(&setup).await;
    story::no_scopes_are_none(&setup).await;
    let credential = setup.mint("acme", &["transactions:read"]).await.credential;
    for header in FORGED.into_iter().chain(["X_Countersign_Account: forged"]) {
        let reply = setup.ask_saying(&credential, "/v1/transactions", &[header]);
        assert_eq!(reply.status, 200, "{header}: {reply:?}");
        let arrived = setup.service.the_one();
        assert!(!arrived.mentions("forged"), "{header}");
        assert_eq!(arrived.header("x-countersign-account").as_deref(), Some("acme"));
    }
    for header in ["X.HTTP.Method.Override: DELETE", "X_HTTP_Method_Override: DELETE"] {
        let reply = setup.ask_saying(&credential, "/v1/transactions", &[header]);
        assert_eq!((reply.status, reply.reason().as_str()), (403, "AMBIGUOUS_REQUEST"), "{header}");
    }
    assert_eq!(setup.service.arrived().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_a_good_credential_passes() {
    let setup = Setup::of(Kind::Envoy).await;
    story::nothing_but_a_good_credential_passes(&setup, Kind::Envoy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read_in_two_ways() {
    let setup = Setup::with(Kind::Envoy, &["--gateway-unknown-routes", "verify"]).await;
    story::nothing_is_read_in_two_ways(&setup, Kind::Envoy).await;
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
    // What it says, it says of the methods that it names.
    for method in ["POST", "PUT", "DELETE"] {
        let refused = setup.ask_as(&reader, method, "/v1/reports/2026");
        assert_eq!((refused.status, refused.reason().as_str()), (403, "UNKNOWN_ROUTE"), "{method}");
    }
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

/// An Envoy that is told to let pass on errors, as no one should be.
pub(super) fn that_lets_pass_on_errors(text: &str) -> String {
    let line = "failure_mode_allow: false";
    assert_eq!(text.matches(line).count(), 1, "the example says {line} once");
    text.replace(line, "failure_mode_allow: true")
}

/// An Envoy that presents this credential to Countersign.
fn presenting(own: &Credential, text: &str) -> String {
    let line = "                        envoy_grpc: { cluster_name: countersign }\n";
    let metadata = format!(
        "{line}                        initial_metadata:\n                          \
         - {{ key: authorization, value: \"Bearer {}\" }}\n                          \
         - {{ key: x-secret-key, value: \"{}\" }}\n",
        own.key_id, own.secret
    );
    assert!(text.contains(line), "the example has that line");
    text.replace(line, &metadata)
}

/// The credential of a gateway.
async fn own_credential(admin: &Caller) -> Credential {
    let scopes = vec!["countersign.verify:call".to_owned()];
    admin.mint(Key { scopes, ..key("countersign", "gateway") }).await.credential
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_presents_a_credential_of_its_own_where_one_is_asked_for() {
    let server = serving(Kind::Envoy).await.with_args(["--verify-auth", "required"]).start().await;
    let admin = server.as_admin().await;
    let own = own_credential(&admin).await;
    let minted = Key { scopes: vec!["transactions:read".to_owned()], ..key("acme", "billing") };
    let minted = admin.mint(minted).await.credential;

    // Nobody passes without, be it the gateway's own fault, and be it told to let pass on errors.
    let setup = Setup::before(Kind::Envoy, server, |text| that_lets_pass_on_errors(&text)).await;
    let refused = setup.ask_as(&minted, "GET", "/v1/transactions");
    assert_eq!((refused.status, refused.reason().as_str()), (503, "UNAUTHENTICATED"));
    assert_eq!(setup.service.arrived().len(), 0);

    let Setup { server, .. } = setup;
    let stale = Credential { secret: server.admin().secret, ..own.clone() };
    let change = |text: String| presenting(&stale, &that_lets_pass_on_errors(&text));
    let setup = Setup::before(Kind::Envoy, server, change).await;
    let refused = setup.ask_as(&minted, "GET", "/v1/transactions");
    assert_eq!((refused.status, refused.reason().as_str()), (503, "UNAUTHENTICATED"));
    assert_eq!(setup.service.arrived().len(), 0);

    let Setup { server, .. } = setup;
    let setup = Setup::before(Kind::Envoy, server, |text| presenting(&own, &text)).await;
    assert_eq!(setup.ask_as(&minted, "GET", "/v1/transactions").status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_lease_lets_nobody_through() {
    without_a_lease(false).await;
}

/// Then the gateway's own credential can't be looked up either, so its question ends before it is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_one_that_asks_gateways_for_a_credential_whatever_they_do_on_errors() {
    without_a_lease(true).await;
}

async fn without_a_lease(callers_authenticate: bool) {
    let store = Store::fresh(Database::Postgres).await;
    let url = store.url.clone().expect("a PostgreSQL");
    let network = Proxy::to(postgres::address_of(&url)).await;
    let seen = Arc::new(store.seen_through(postgres::through(&url, network.address())));
    let verify_auth = if callers_authenticate { "required" } else { "off" };
    let builder = with_routes(Server::on_store(seen), Kind::Envoy).with_args([
        "--max-staleness",
        "5s",
        "--verify-auth",
        verify_auth,
    ]);
    let server = builder.start().await;
    let own = own_credential(&server.as_admin().await).await;
    let change = |text: String| {
        if callers_authenticate { presenting(&own, &that_lets_pass_on_errors(&text)) } else { text }
    };
    let setup = Setup::before(Kind::Envoy, server, change).await;
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
    setup.service.arrived();
    for _ in 0..5 {
        assert_eq!(asked().status, 503);
    }
    assert_eq!(setup.service.arrived().len(), 0);

    network.heal();
    eventually("the key passes again", SOON, async || asked().status == 200).await;
}
