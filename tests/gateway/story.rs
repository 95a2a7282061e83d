//! What holds whichever gateway stands before the service.

use countersign::rpc::proto::{RevokeKeyRequest, RevokeReason};

use super::{Kind, Reply, Setup, two_headers};

/// The journey of a platform team: a key passes, a read-only key reads only, another account's data is closed, and a
/// revoked key is dead at once.
pub(super) async fn a_key_opens_what_it_was_made_for(setup: &Setup, kind: Kind) {
    let minted = setup.mint("acme", &["transactions:read"]).await;
    let credential = &minted.credential;

    let reply = setup.ask_as(credential, "GET", "/v1/transactions?page=2");
    assert_eq!((reply.status, reply.body.as_str()), (200, "served\n"), "{reply:?}");
    let arrived = setup.service.the_one();
    assert_eq!(
        (arrived.method.as_str(), arrived.target.as_str()),
        ("GET", "/v1/transactions?page=2")
    );
    for (name, value) in [
        ("x-countersign-account", "acme"),
        ("x-countersign-application", "billing"),
        ("x-countersign-key-id", credential.key_id.as_str()),
        ("x-countersign-scopes", "transactions:read"),
    ] {
        assert_eq!(arrived.header(name).as_deref(), Some(value), "{name}");
    }
    assert!(!arrived.mentions(&credential.secret), "the secret arrives at the service");
    assert_eq!(arrived.header("x-secret-key"), None);

    // As one string, which then is as secret as its second half.
    let whole = format!("Authorization: Bearer {}", credential.token());
    assert_eq!(setup.ask(&["--header", &whole], "/v1/transactions").status, 200);
    let arrived = setup.service.the_one();
    assert!(!arrived.mentions(&credential.secret), "the secret arrives at the service");
    assert_eq!(arrived.header("authorization"), None);

    // Read-only stays read-only.
    let refused = setup.ask_as(credential, "POST", "/v1/transactions");
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(
        refused.challenge(),
        "Bearer realm=\"countersign\", error=\"insufficient_scope\", scope=\"transactions:write\""
    );
    if let Kind::Envoy = kind {
        assert_eq!(refused.reason(), "SCOPE_MISSING");
    }

    // Its own account's data, and nobody else's.
    assert_eq!(setup.ask_as(credential, "GET", "/v1/accounts/acme/transactions").status, 200);
    setup.service.the_one();
    let refused = setup.ask_as(credential, "GET", "/v1/accounts/globex/transactions");
    assert_eq!(refused.status, 403, "{refused:?}");
    if let Kind::Envoy = kind {
        assert_eq!(refused.reason(), "ACCOUNT_MISMATCH");
    }

    // An unknown route is for nobody, which only holders of a good key are told.
    assert_eq!(setup.ask_as(credential, "GET", "/v1/secrets").status, 403);
    assert_eq!(setup.ask_as(credential, "DELETE", "/v1/transactions").status, 403);
    assert_eq!(setup.ask(&[], "/v1/secrets").status, 401);

    // Dead at once, and for all that follows.
    let revoke = RevokeKeyRequest {
        key_id: credential.key_id.clone(),
        reason: RevokeReason::Compromised.into(),
        ..RevokeKeyRequest::default()
    };
    setup.admin.admin().revoke_key(revoke).await.expect("the key can be revoked");
    let refused = setup.ask_as(credential, "GET", "/v1/transactions");
    assert_eq!(refused.status, 401, "{refused:?}");
    assert_eq!(refused.challenge(), "Bearer realm=\"countersign\", error=\"invalid_token\"");
    if let Kind::Envoy = kind {
        assert_eq!(refused.reason(), "REVOKED");
    }
    assert_eq!(setup.service.arrived().len(), 0, "a refused request arrived");
}

/// What a client says of itself under our names does not arrive.
pub(super) async fn nobody_says_who_they_are(setup: &Setup) {
    let credential = setup.mint("acme", &["transactions:read"]).await.credential;
    let [key, secret] = two_headers(&credential);
    let smuggled = [
        "X-Countersign-Account: globex",
        "X-Countersign-Account: initech",
        "x-countersign-scopes: *",
        "X-COUNTERSIGN-KEY-ID: csk_live_forged",
        "X-Countersign-Application: forged",
    ];
    let mut args = vec!["--header", &key, "--header", &secret];
    args.extend(smuggled.iter().flat_map(|header| ["--header", header]));
    assert_eq!(setup.ask(&args, "/v1/transactions").status, 200);
    let arrived = setup.service.the_one();
    assert_eq!(arrived.header("x-countersign-account").as_deref(), Some("acme"));
    assert_eq!(arrived.header("x-countersign-scopes").as_deref(), Some("transactions:read"));
    assert_eq!(arrived.header("x-countersign-application").as_deref(), Some("billing"));
    assert_eq!(arrived.header("x-countersign-key-id").as_deref(), Some(credential.key_id.as_str()));
}

/// What is no credential, or one that is not good, lets nobody through: with a status, and without the service seeing
/// anything of it.
pub(super) async fn nothing_but_a_good_credential_passes(setup: &Setup, kind: Kind) {
    let credential = setup.mint("acme", &["transactions:read"]).await.credential;
    let other = setup.mint("globex", &["transactions:read"]).await.credential;
    let [key, secret] = two_headers(&credential);
    let [other_key, other_secret] = two_headers(&other);
    let whole = format!("Authorization: Bearer {}", credential.token());
    let basic = format!("Authorization: Basic {}", credential.token());
    let long = format!("Authorization: Bearer {}", "a".repeat(64 * 1024));
    let non_ascii = format!("{secret}\u{e4}");
    let bare = format!("Authorization: {}", credential.token());
    let cases: [(&str, &[&str], &[u16]); 13] = [
        ("no credential", &[], &[401]),
        ("half of one", &[&key], &[401]),
        ("the other half", &[&secret], &[401]),
        ("a wrong secret", &[&key, &other_secret], &[401]),
        ("an unknown id", &["Authorization: Bearer nobody", &secret], &[401]),
        // nginx refuses by itself what it takes only one of.
        ("two authorization headers", &[&key, &other_key, &secret], &[400, 401]),
        ("the same one twice", &[&key, &key, &secret], &[400, 401]),
        ("two secrets", &[&key, &secret, &other_secret], &[401]),
        ("Basic", &[&basic], &[401]),
        ("no scheme", &[&bare], &[401]),
        // Gateways take less than that by themselves.
        ("64 KiB", &[&long, &secret], &[400, 401, 431]),
        ("beyond ASCII", &[&key, &non_ascii], &[400, 401]),
        ("a secret in both places", &[&whole, &secret], &[401]),
    ];
    for (what, headers, statuses) in cases {
        let args: Vec<&str> = headers.iter().flat_map(|header| ["--header", header]).collect();
        let reply = setup.ask(&args, "/v1/transactions");
        assert!(statuses.contains(&reply.status), "{what}: {} {:?}", reply.status, reply.headers);
        if reply.status == 401 {
            let challenge = reply.challenge();
            assert!(challenge.starts_with("Bearer realm=\"countersign\""), "{what}: {challenge}");
        }
        assert_eq!(setup.service.arrived().len(), 0, "{what} arrived");
        if let (Kind::Envoy, 401) = (kind, reply.status) {
            assert!(
                ["MISSING", "MALFORMED", "INVALID_CREDENTIAL"].contains(&reply.reason().as_str()),
                "{what}"
            );
        }
    }
    // And the good one does.
    assert_eq!(setup.ask_as(&credential, "GET", "/v1/transactions").status, 200);
    setup.service.the_one();
}

/// A path that two readers may read in two ways, and a request that says two methods. With
/// `--gateway-unknown-routes verify`, so that nothing but this stands in the way of a good key.
pub(super) async fn nothing_is_read_in_two_ways(setup: &Setup, kind: Kind) {
    let credential = setup.mint("acme", &["*"]).await.credential;
    assert_eq!(setup.ask_as(&credential, "GET", "/v1/anything").status, 200);
    setup.service.the_one();
    let is_ambiguous = |reply: Reply, what: &str| {
        assert_eq!(reply.status, 403, "{what}: {reply:?}");
        let challenge = reply.challenge();
        assert_eq!(challenge, "Bearer realm=\"countersign\", error=\"invalid_request\"", "{what}");
        if let Kind::Envoy = kind {
            assert_eq!(reply.reason(), "AMBIGUOUS_REQUEST", "{what}");
        }
    };
    for path in ["/v1/transactions;a=b", "/v1/%2574ransactions", "/v1/transactions;"] {
        is_ambiguous(setup.ask_as(&credential, "GET", path), path);
    }
    for header in ["X-HTTP-Method-Override: DELETE", "X-Rewrite-URL: /v1/reports"] {
        is_ambiguous(setup.ask_saying(&credential, "/v1/transactions", &[header]), header);
    }
    for path in ["/v1/reports/..%2ftransactions", "/v1/accounts/acme%2Ftransactions"] {
        let reply = setup.ask_as(&credential, "GET", path);
        match kind {
            // It refuses them by itself.
            Kind::Envoy => assert_eq!(reply.status, 400, "{path}: {reply:?}"),
            Kind::Nginx => is_ambiguous(reply, path),
        }
    }
    assert_eq!(setup.service.arrived().len(), 0);

    // What a service may take for its transactions needs what they need, or is nobody's.
    let reports = setup.mint("acme", &["reports:read"]).await.credential;
    let transactions = setup.mint("acme", &["transactions:read"]).await.credential;
    for path in [
        "/v1/reports/../transactions",
        "/v1/reports;/../transactions",
        "/v1/reports/%2e%2e/transactions",
        "/v1/reports/.%2E/transactions",
        "/v1\\transactions",
        "/v1//transactions",
        "/v1/./transactions",
    ] {
        let refused = setup.ask_as(&reports, "GET", path);
        let reply = setup.ask_as(&transactions, "GET", path);
        match kind {
            // It asks for what it sends on, which is the path that there is only one way to read.
            Kind::Envoy => {
                assert_eq!((refused.status, refused.reason().as_str()), (403, "SCOPE_MISSING"));
                assert_eq!(reply.status, 200, "{path}: {reply:?}");
                assert_eq!(setup.service.the_one().target, "/v1/transactions", "{path}");
            }
            // It asks for what was sent, and sends on the same.
            Kind::Nginx => {
                is_ambiguous(refused, path);
                is_ambiguous(reply, path);
            }
        }
    }
    assert_eq!(setup.service.arrived().len(), 0);
}

/// A key without scopes has nothing to say under that header, and neither has its holder.
pub(super) async fn no_scopes_are_none(setup: &Setup) {
    let credential = setup.mint("acme", &[]).await.credential;
    let forged = ["X-Countersign-Scopes: *", "X-Countersign-Account: globex"];
    let reply = setup.ask_saying(&credential, "/v1/open", &forged);
    assert_eq!(reply.status, 200, "{reply:?}");
    let arrived = setup.service.the_one();
    assert_eq!(arrived.header("x-countersign-scopes"), None);
    assert_eq!(arrived.header("x-countersign-account").as_deref(), Some("acme"));
}

/// A route on which any good key passes.
pub(super) const OPEN_ROUTE: &str = "[[gateway.routes]]\npath = \"/v1/open\"\nscopes = []\n";

/// A gateway whose Countersign is gone lets nobody through.
pub(super) async fn nobody_passes_once_the_server_is_gone(mut setup: Setup) {
    let credential = setup.mint("acme", &["transactions:read"]).await.credential;
    assert_eq!(setup.ask_as(&credential, "GET", "/v1/transactions").status, 200);
    setup.service.the_one();
    setup.server.kill9();
    for _ in 0..3 {
        let reply = setup.ask_as(&credential, "GET", "/v1/transactions");
        assert_eq!(reply.status, 503, "{reply:?}");
    }
    assert_eq!(setup.service.arrived().len(), 0);
}
