//! The real nginx, with `examples/nginx/nginx.conf`.

use countersign::rpc::proto::Key;

use super::{Kind, Setup, serving, story, two_headers};
use crate::harness::key;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_opens_what_it_was_made_for() {
    let setup = Setup::of(Kind::Nginx).await;
    story::a_key_opens_what_it_was_made_for(&setup, Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_says_who_they_are_by_themselves() {
    let setup = Setup::of(Kind::Nginx).await;
    story::nobody_says_who_they_are(&setup).await;

    // Nor which request it is that is decided on: neither by nginx's names nor by Traefik's.
    let credential = setup.mint("acme", &["transactions:read"]).await.credential;
    let [key, secret] = two_headers(&credential);
    for (method, path) in [
        ("X-Original-Method: GET", "X-Original-URI: /v1/transactions"),
        ("X-Forwarded-Method: GET", "X-Forwarded-Uri: /v1/transactions"),
    ] {
        let args = [
            "--request",
            "POST",
            "--header",
            &key,
            "--header",
            &secret,
            "--header",
            method,
            "--header",
            path,
        ];
        assert_eq!(setup.ask(&args, "/v1/transactions").status, 403, "{path}");
    }
    assert_eq!(setup.service.arrived().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_a_good_credential_passes() {
    let setup = Setup::of(Kind::Nginx).await;
    story::nothing_but_a_good_credential_passes(&setup, Kind::Nginx).await;
    story::nothing_is_read_in_two_ways(&setup).await;
    let credential = setup.mint("acme", &["*"]).await.credential;
    // nginx takes these for another path itself, and hands on what was sent.
    for path in ["/v1//transactions", "/v1/x/../transactions", "/v1/%74ransactions"] {
        assert_eq!(setup.ask_as(&credential, "GET", path).status, 403, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_passes_once_the_server_is_gone() {
    story::nobody_passes_once_the_server_is_gone(Setup::of(Kind::Nginx).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_believed_from_trusted_hops_only() {
    let bound = |network: &str| Key {
        scopes: vec!["transactions:read".to_owned()],
        allowed_cidrs: vec![network.to_owned()],
        ..key("acme", "billing")
    };
    for (hops, passes) in [("0", "127.0.0.0/8"), ("1", "198.51.100.4/32")] {
        let server =
            serving(Kind::Nginx).await.with_args(["--gateway-trusted-hops", hops]).start().await;
        let setup = Setup::before(Kind::Nginx, server, |text| text).await;
        let here = setup.admin.mint(bound(passes)).await.credential;
        let forged = setup.admin.mint(bound("203.0.113.7/32")).await.credential;
        let header = "X-Forwarded-For: 203.0.113.7, 198.51.100.4";
        for (credential, status) in [(here, 200), (forged, 403)] {
            let [key, secret] = two_headers(&credential);
            let args = ["--header", &key, "--header", &secret, "--header", header];
            assert_eq!(setup.ask(&args, "/v1/transactions").status, status, "{hops} hops");
        }
    }
}
