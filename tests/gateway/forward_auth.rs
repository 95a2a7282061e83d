//! The pages that gateways ask over plain HTTP, asked as Traefik's documentation of `forwardAuth` words it, and in the
//! ways in which a gateway that is set up wrongly asks.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

use countersign::rpc::proto::Key;

use super::{Kind, Reply, curl, serving, two_headers};
use crate::harness::{Caller, Credential, Database, Server, eventually, key};

const SOON: Duration = Duration::from_secs(30);

struct Door {
    server: Server,
    admin: Caller,
}

impl Door {
    async fn start(args: &[&str]) -> Self {
        let server = serving(Kind::Nginx).await.with_args(args.iter().copied()).start().await;
        let admin = server.as_admin().await;
        Self { server, admin }
    }

    async fn reader(&self, networks: &[&str]) -> Credential {
        let allowed_cidrs = networks.iter().map(ToString::to_string).collect();
        let scopes = vec!["transactions:read".to_owned()];
        self.admin.mint(Key { scopes, allowed_cidrs, ..key("acme", "billing") }).await.credential
    }

    fn ask(&self, path: &str, headers: &[&str]) -> Reply {
        let args: Vec<&str> = headers.iter().flat_map(|header| ["--header", header]).collect();
        curl(&args, &format!("http://{}{path}", self.server.gateways()))
    }

    /// As Traefik does: a GET with all headers of the request, and its own about it.
    fn traefik(&self, method: &str, uri: &str, client: &[&str]) -> Reply {
        let (method, uri) =
            (format!("X-Forwarded-Method: {method}"), format!("X-Forwarded-Uri: {uri}"));
        let mut headers = vec![
            method.as_str(),
            &uri,
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: api.example.com",
        ];
        headers.extend(["X-Forwarded-For: 192.0.2.7"]);
        headers.extend(client);
        self.ask("/v1/forward-auth", &headers)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traefik_is_answered_with_what_it_copies() {
    let door = Door::start(&[]).await;
    let credential = door.reader(&["192.0.2.0/24"]).await;
    let [key, secret] = two_headers(&credential);
    let reply = door.traefik("GET", "/v1/transactions?page=2", &[&key, &secret]);
    assert_eq!(reply.status, 200, "{reply:?}");
    for (name, value) in [
        ("x-countersign-account", "acme"),
        ("x-countersign-application", "billing"),
        ("x-countersign-key-id", credential.key_id.as_str()),
        ("x-countersign-scopes", "transactions:read"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    // What Traefik does not find here it takes away: `authResponseHeaders` names these too.
    assert_eq!((reply.header("authorization"), reply.header("x-secret-key")), (None, None));

    let refused = door.traefik("POST", "/v1/transactions", &[&key, &secret]);
    assert_eq!((refused.status, refused.reason().as_str()), (403, "SCOPE_MISSING"));
    let refused = door.traefik("GET", "/v1/transactions", &[]);
    assert_eq!((refused.status, refused.reason().as_str()), (401, "MISSING"));
    assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"countersign\""));
    assert_eq!(refused.header("cache-control"), Some("no-store"));
    let refused = door.traefik("GET", "/v1/accounts/globex/transactions", &[&key, &secret]);
    assert_eq!((refused.status, refused.reason().as_str()), (403, "ACCOUNT_MISMATCH"));
    let refused = door.traefik("GET", "/v1/accounts/a%20b/transactions", &[&key, &secret]);
    assert_eq!((refused.status, refused.reason().as_str()), (403, "UNMEETABLE"));
    let refused = door.traefik("GET", "/v1/nothing", &[&key, &secret]);
    assert_eq!((refused.status, refused.reason().as_str()), (403, "UNKNOWN_ROUTE"));
    let refused = door.traefik("GET", "/v1//transactions", &[&key, &secret]);
    assert_eq!((refused.status, refused.reason().as_str()), (403, "AMBIGUOUS_REQUEST"));
    let challenge = refused.header("www-authenticate");
    assert_eq!(challenge, Some("Bearer realm=\"countersign\", error=\"invalid_request\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_door_reads_the_headers_of_its_own_gateway() {
    let door = Door::start(&[]).await;
    let credential = door.reader(&[]).await;
    let [key, secret] = two_headers(&credential);
    // A client of Traefik that speaks as nginx would does not change what is decided on.
    let smuggled = ["X-Original-Method: GET", "X-Original-URI: /v1/transactions", &key, &secret];
    assert_eq!(door.traefik("POST", "/v1/transactions", &smuggled).reason(), "SCOPE_MISSING");
    let asked = |path: &str, headers: &[&str]| {
        let headers: Vec<&str> = headers.iter().copied().chain([key.as_str(), &secret]).collect();
        door.ask(path, &headers)
    };
    let of_nginx = ["X-Original-Method: GET", "X-Original-URI: /v1/transactions"];
    assert_eq!(asked("/v1/auth-request", &of_nginx).status, 200);
    // A gateway that forgets them, or that lets them stand twice, lets nobody through.
    for (path, headers, status, reason) in [
        ("/v1/forward-auth", &of_nginx[..], 503, "INVALID_REQUEST"),
        ("/v1/auth-request", &of_nginx[..1], 503, "INVALID_REQUEST"),
        ("/v1/auth-request", &[], 503, "INVALID_REQUEST"),
        ("/v1/auth-request?scopes=a", &of_nginx, 503, "INVALID_REQUEST"),
        ("/v1/auth-request", &[of_nginx[0], of_nginx[1], of_nginx[1]], 403, "AMBIGUOUS_REQUEST"),
    ] {
        let reply = asked(path, headers);
        assert_eq!((reply.status, reply.reason().as_str()), (status, reason), "{path} {headers:?}");
    }
    assert_eq!(asked("/v1/other", &of_nginx).status, 404);
}

/// Gateways take away what they are told by name, and servers behind CGI and its like read other names as the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_ours_in_another_spelling_is_refused() {
    let door = Door::start(&[]).await;
    let credential = door.reader(&[]).await;
    let [key, secret] = two_headers(&credential);
    for name in [
        "X_Countersign_Account",
        "X.Countersign.Account",
        "X-Countersign_Account",
        "X-Countersign-Key_Id",
        "x~countersign~role",
    ] {
        let forged = format!("{name}: globex");
        let refused = door.traefik("GET", "/v1/transactions", &[&key, &secret, &forged]);
        assert_eq!(
            (refused.status, refused.reason().as_str()),
            (403, "AMBIGUOUS_REQUEST"),
            "{name}"
        );
        let of_nginx =
            ["X-Original-Method: GET", "X-Original-URI: /v1/transactions", &key, &secret, &forged];
        assert_eq!(door.ask("/v1/auth-request", &of_nginx).reason(), "AMBIGUOUS_REQUEST", "{name}");
    }
    // These the gateway takes away, or they are nobody's business.
    for name in ["X-Countersign-Account", "x-countersign-role", "X_Other", "X_Countersigned_By"] {
        let forged = format!("{name}: globex");
        let reply = door.traefik("GET", "/v1/transactions", &[&key, &secret, &forged]);
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
        assert_eq!(reply.header("x-countersign-account"), Some("acme"));
    }
}

/// Who has no good key learns nothing of the route table: every path is alike.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_are_told_to_holders_of_good_keys_only() {
    let door = Door::start(&[]).await;
    let good = door.reader(&["192.0.2.0/24"]).await;
    let elsewhere = door.reader(&["203.0.113.0/24"]).await;
    let [key, secret] = two_headers(&good);
    let [far_key, far_secret] = two_headers(&elsewhere);
    let unknown = "Authorization: Bearer nobody";
    let ambiguous = "/v1//nothing";
    for (what, headers, status, reason) in [
        ("none", &[][..], 401, "MISSING"),
        ("a malformed one", &["Authorization: Bearer csk_live_0", &secret], 401, "MALFORMED"),
        ("an unknown one", &[unknown, &secret], 401, "INVALID_CREDENTIAL"),
        ("a wrong secret", &[&key, &far_secret], 401, "INVALID_CREDENTIAL"),
        ("one from elsewhere", &[&far_key, &far_secret], 403, "IP_NOT_ALLOWED"),
    ] {
        let asked = |path| {
            let reply = door.traefik("GET", path, headers);
            (reply.status, reply.reason())
        };
        let expected = (status, reason.to_owned());
        assert_eq!(asked("/v1/transactions"), expected, "{what}");
        assert_eq!(asked("/v1/nothing"), expected, "{what}");
        assert_eq!(asked("/v1/accounts/a%20b/transactions"), expected, "{what}");
        // Of what can't be read it is said whether there is a route or not.
        assert_eq!(asked(ambiguous), (403, "AMBIGUOUS_REQUEST".to_owned()), "{what}");
    }
    let refused = door.traefik("GET", "/v1/nothing", &[&key, &secret]);
    assert_eq!((refused.status, refused.reason().as_str()), (403, "UNKNOWN_ROUTE"));
}

/// What no gateway sends, and whoever reaches the door can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_too_much_or_no_text_lets_nobody_through() {
    let door = Door::start(&[]).await;
    let credential = door.reader(&[]).await;
    let [key, secret] = two_headers(&credential);
    let long = format!("Authorization: Bearer {}", "a".repeat(64 * 1024));
    assert_eq!(door.traefik("GET", "/v1/transactions", &[&long, &secret]).reason(), "MALFORMED");
    for bad in [format!("{secret}\u{e4}"), format!("{secret}\u{fffd}")] {
        assert_eq!(door.traefik("GET", "/v1/transactions", &[&key, &bad]).reason(), "MALFORMED");
    }
    let many: Vec<String> = (0..200).map(|number| format!("X-Number-{number}: 1")).collect();
    let headers: Vec<&str> =
        [key.as_str(), &secret].into_iter().chain(many.iter().map(String::as_str)).collect();
    assert_eq!(door.traefik("GET", "/v1/transactions", &headers).status, 431);
    // None of it holds anybody else up.
    assert_eq!(door.traefik("GET", "/v1/transactions", &[&key, &secret]).status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_unknown_routes_are_settings() {
    let args = ["--gateway-key-header", "X-API-Key", "--gateway-secret-header", "X-API-Secret"];
    let door = Door::start(&[&args[..], &["--gateway-unknown-routes", "verify"]].concat()).await;
    let credential = door.reader(&["192.0.2.7"]).await;
    let (key, secret) = (
        format!("X-API-Key: {}", credential.key_id),
        format!("X-API-Secret: {}", credential.secret),
    );
    let whole = format!("X-API-Key: {}", credential.token());
    assert_eq!(door.traefik("GET", "/v1/transactions", &[&key, &secret]).status, 200);
    assert_eq!(door.traefik("GET", "/v1/transactions", &[&whole]).status, 200);
    assert_eq!(door.traefik("GET", "/anything", &[&whole]).status, 200);
    assert_eq!(door.traefik("GET", "/anything", &[]).reason(), "MISSING");
    let [usual_key, usual_secret] = two_headers(&credential);
    assert_eq!(
        door.traefik("GET", "/v1/transactions", &[&usual_key, &usual_secret]).reason(),
        "MISSING"
    );
    // The route that there is still needs what it needs.
    assert_eq!(door.traefik("POST", "/v1/transactions", &[&whole]).reason(), "SCOPE_MISSING");
    // A key that is bound to networks needs an address that is known.
    let nowhere = ["X-Forwarded-Method: GET", "X-Forwarded-Uri: /v1/transactions", &whole];
    assert_eq!(door.ask("/v1/forward-auth", &nowhere).reason(), "IP_NOT_ALLOWED");
    let nonsense = [nowhere[0], nowhere[1], nowhere[2], "X-Forwarded-For: 192.0.2.7, unknown"];
    assert_eq!(door.ask("/v1/forward-auth", &nonsense).reason(), "IP_NOT_ALLOWED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_is_shut_unless_it_is_opened_in_words() {
    let server = Server::start(Database::Sqlite).await;
    for path in ["/v1/forward-auth", "/v1/auth-request"] {
        assert_eq!(curl(&[], &format!("{}{path}", server.http())).status, 404, "{path}");
    }
    // And where it is open, it is no other door.
    let door = Door::start(&[]).await;
    assert_eq!(door.ask("/readyz", &[]).status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_above_the_limit_are_closed_and_probes_have_their_own() {
    let door = Door::start(&["--gateway-max-connections", "2"]).await;
    let connect = || {
        let socket = TcpStream::connect(door.server.gateways()).expect("the port is open");
        socket.set_read_timeout(Some(SOON)).expect("a limit");
        socket
    };
    let held = [connect(), connect()];
    // Sockets are taken in their order.
    let read = connect().read(&mut [0; 1]);
    assert!(!matches!(read, Ok(1..)), "the third is answered");
    assert!(
        read.map_err(|error| error.kind()) != Err(std::io::ErrorKind::WouldBlock),
        "the third is kept"
    );
    assert_eq!(curl(&[], &format!("{}/readyz", door.server.http())).status, 200);
    drop(held);
    let of_nginx = ["X-Original-Method: GET", "X-Original-URI: /v1/transactions"];
    let headers = of_nginx.iter().flat_map(|header| ["--header", header]).collect::<Vec<_>>();
    let url = format!("http://{}/v1/auth-request", door.server.gateways());
    eventually("there is room again", SOON, async || {
        let program = crate::harness::tools::curl().args(["--silent", "--output", "/dev/null"]);
        program.args(["--write-out", "%{http_code}"]).args(&headers).arg(&url).run().stdout == "401"
    })
    .await;
}
