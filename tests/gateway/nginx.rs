//! The real nginx, with `examples/nginx/nginx.conf`.

use countersign::rpc::proto::Key;

use super::{Kind, Setup, serving, serving_also, story, two_headers};
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
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read_in_two_ways() {
    let setup = Setup::with(Kind::Nginx, &["--gateway-unknown-routes", "verify"]).await;
    story::nothing_is_read_in_two_ways(&setup, Kind::Nginx).await;
    // nginx takes this for another path itself, and hands on what was sent.
    let credential = setup.mint("acme", &["*"]).await.credential;
    let refused = setup.ask_as(&credential, "GET", "/v1/%74ransactions");
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(setup.service.arrived().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_scopes_are_none() {
    let server = serving_also(Kind::Nginx, story::OPEN_ROUTE).await.start().await;
    story::no_scopes_are_none(&Setup::before(Kind::Nginx, server, |text| text).await).await;
}

/// With nginx told to take what it drops by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_says_who_they_are_under_names_that_are_read_as_ours() {
    let server = serving(Kind::Nginx).await.start().await;
    let setup = Setup::before(Kind::Nginx, server, |text| {
        text.replace(
            "access_log off;",
            "access_log off; underscores_in_headers on; ignore_invalid_headers off;",
        )
    })
    .await;
    let credential = setup.mint("acme", &["transactions:read"]).await.credential;
    for header in ["X_Countersign_Account: globex", "X.Countersign.Account: globex"] {
        let reply = setup.ask_saying(&credential, "/v1/transactions", &[header]);
        assert_eq!(reply.status, 403, "{header}: {reply:?}");
    }
    assert_eq!(setup.service.arrived().len(), 0);
    assert_eq!(setup.ask_saying(&credential, "/v1/transactions", &["X_Other: 1"]).status, 200);
    assert_eq!(setup.service.the_one().header("x_other").as_deref(), Some("1"));
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
        for (credential, status) in [(&here, 200), (&forged, 403)] {
            let reply = setup.ask_saying(credential, "/v1/transactions", &[header]);
            assert_eq!(reply.status, status, "{hops} hops");
        }
        // What stands last is nginx's word, be there nothing but the client's before it.
        let header = "X-Forwarded-For: 203.0.113.7";
        let status = if hops == "0" { 403 } else { 200 };
        let reply = setup.ask_saying(&forged, "/v1/transactions", &[header]);
        assert_eq!(reply.status, status, "{hops} hops: the first proxy's client is whom it names");
    }
}
