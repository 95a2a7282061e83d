//! Flags, variables and a file that say what can't be meant; and ports that are taken.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use countersign::config::reference;

use super::{on_free_ports, refuses};
use crate::harness::{Database, Program, Server, Store, tools};

/// For each setting, values that it can't have, and what is said about them.
const BAD: &[(&str, &[&str], &str)] = &[
    ("config", &["/no/such/file.toml", "/"], "settings file /"),
    ("listen", ADDRESSES, "listen"),
    ("admin-listen", ADDRESSES, "admin-listen"),
    ("http-listen", ADDRESSES, "http-listen"),
    ("data-dir", &["", "/dev/null/data"], "data"),
    ("database-url", &["", "keys.db", "mysql://host/db", "postgres://host:x/db"], "database-url"),
    ("database-url", &["sqlite:", "sqlite::memory:", "sqlite:a.db?mode=ro"], "database-url"),
    ("database-url-file", &["", "/no/such/file"], "database"),
    ("database-max-connections", NUMBERS, "database-max-connections"),
    ("database-max-connections", &["1001", "4294967295"], "at most 1000"),
    ("database-listen", &["", "yes"], "database-listen"),
    ("max-staleness", &["", "30", "0s", "999ms", "-5s", "61m", "for ever"], "max-staleness"),
    ("root-key-file", &["", "/no/such/file"], "root"),
    ("brands", &["", "CS", "cs,cs", "a-b", "longerthan8"], "brand"),
    ("verify-auth", &["", "on"], "verify-auth"),
    ("verify-threads", NUMBERS, "verify-threads"),
    ("verify-threads", &["1025", "18446744073709551615"], "at most 1024"),
    ("max-connections", NUMBERS, "max-connections"),
    ("max-watchers", NUMBERS, "max-watchers"),
    ("watch-ring-events", NUMBERS, "watch-ring-events"),
    ("gateway-listen", ADDRESSES, "gateway-listen"),
    ("gateway-max-connections", NUMBERS, "gateway-max-connections"),
    ("gateway-key-header", &["", "x y", "host", "x-secret-key"], "gateway-key-header"),
    ("gateway-secret-header", &["", "\u{e9}", "cookie", "authorization"], "gateway-secret-header"),
    ("gateway-trusted-hops", &["", "-1", "1.5", "many"], "gateway-trusted-hops"),
    ("gateway-unknown-routes", &["", "allow"], "gateway-unknown-routes"),
    ("log", &["countersign=loud=er"], "log"),
    ("log-format", &["", "xml"], "log-format"),
];
const ADDRESSES: &[&str] =
    &["", "nowhere", "127.0.0.1", "127.0.0.1:65536", ":50051", "localhost:1"];
const NUMBERS: &[&str] = &["", "0", "-1", "1.5", "many", "99999999999999999999999"];

/// Lines of a settings file that are wrong, and what is said about them.
const BAD_LINES: &[(&str, &str)] = &[
    ("listen = \"nowhere\"", "line 2: listen: "),
    ("http-listen = 8080", "line 2: http-listen: "),
    ("data-dir = 7", "line 2: data-dir: "),
    ("database-url = [\"postgres://u:hunter2@h/d\"]", "line 2: database-url: "),
    ("database-max-connections = \"hunter2\"", "line 2: database-max-connections: "),
    ("database-max-connections = 0", "database-max-connections must be at least 1"),
    ("database-listen = false", "line 2: database-listen: "),
    ("max-staleness = 30", "line 2: max-staleness: "),
    ("max-staleness = \"1d\"", "max-staleness must be a duration from 1s to 1h"),
    ("brands = \"cs\"", "line 2: brands: "),
    ("brands = []", "at least one brand"),
    ("verify-auth = \"on\"", "line 2: verify-auth: "),
    ("verify-threads = -1", "line 2: verify-threads: "),
    ("max-connections = 0", "max-connections must be at least 1"),
    ("max-connections = 1e3", "line 2: max-connections: "),
    ("log-format = \"xml\"", "line 2: log-format: "),
    ("lissten = \"127.0.0.1:1\"", "line 2: lissten: is no setting"),
    ("max_connections = 7", "line 2: max_connections: is no setting"),
    ("[server]", "line 2: "),
    ("listen: nowhere", "line 2: "),
    ("database-url = \"postgres://u:hunter2@h/d", "line 2: database-url: "),
];

/// Nothing but what the test says.
fn serve_in(store: &Store) -> Program {
    tools::countersign().in_dir(&store.data_dir).arg("serve").env("COUNTERSIGN_LOG", "warn")
}

#[tokio::test]
async fn a_setting_that_can_not_be_is_refused_as_a_flag_and_as_a_variable() {
    let store = Store::unprepared(Database::Sqlite).await;
    for doc in reference() {
        let name = doc.flag.trim_start_matches("--");
        let rows: Vec<_> = BAD.iter().filter(|(of, ..)| *of == name).collect();
        assert!(!rows.is_empty(), "no bad value of {name} is tried");
        for (value, says) in
            rows.iter().flat_map(|(_, values, says)| values.iter().map(move |v| (v, says)))
        {
            let flag = format!("--{name}={value}");
            refuses(serve_but_for(&store, name).arg(flag), &[says]);
            refuses(serve_but_for(&store, name).env(&doc.env, value), &[says]);
        }
    }
    for file in fs::read_dir(store.data_dir.join("countersign-data")).into_iter().flatten() {
        let name = file.expect("can be read").file_name().into_string().expect("is text");
        // Locks are taken before anything that could need them.
        assert!(name == "lock" || name.ends_with(".lock"), "{name} was made");
    }
}

/// `serve`, with what it needs beside that one setting.
fn serve_but_for(store: &Store, name: &str) -> Program {
    let program = tools::countersign().in_dir(&store.data_dir).arg("serve");
    let others = [
        ("listen", "COUNTERSIGN_LISTEN", "127.0.0.1:0"),
        ("http-listen", "COUNTERSIGN_HTTP_LISTEN", "127.0.0.1:0"),
        ("log", "COUNTERSIGN_LOG", "warn"),
    ];
    let others = others.into_iter().filter(|(other, ..)| *other != name);
    others.fold(program, |program, (_, variable, value)| program.env(variable, value))
}

#[tokio::test]
async fn a_wrong_line_of_the_settings_file_is_named_and_its_value_is_not() {
    let store = Store::unprepared(Database::Sqlite).await;
    let file = store.data_dir.join("countersign.toml");
    for (bad, says) in BAD_LINES {
        fs::write(&file, format!("# settings\n{bad}\n")).expect("writes");
        let line = refuses(serve_in(&store).arg("--config").arg(&file), &[says]);
        assert!(!line.contains("hunter2"), "{line}");
    }
}

#[tokio::test]
async fn an_unknown_flag_is_refused() {
    let store = Store::unprepared(Database::Sqlite).await;
    let says = ["unexpected argument '--lissten'", "--listen"];
    refuses(serve_in(&store).args(["--lissten", "127.0.0.1:0"]), &says);
}

#[tokio::test]
async fn an_unknown_variable_is_warned_of_and_the_server_starts() {
    let builder = Server::on(Database::Sqlite).await;
    let server = builder.with_env("COUNTERSIGN_SERVICE_PORT", "50051").start().await;
    let warning = "countersign: warning: no such setting, passed over: COUNTERSIGN_SERVICE_PORT";
    let log = server.log();
    assert_eq!(log.lines().filter(|line| *line == warning).count(), 1, "{log}");
}

#[tokio::test]
async fn a_port_in_use_is_said_to_be_so_before_anything_is_made() {
    let store = Store::unprepared(Database::Sqlite).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let taken = taken.local_addr().expect("it is bound").to_string();
    for name in ["listen", "admin-listen", "http-listen", "gateway-listen"] {
        let program = serve_but_for(&store, name).arg(format!("--{name}={taken}"));
        let says = format!("{name} {taken} is in use by another program");
        refuses(program, &[&says, &format!("--{name}")]);
    }
    for (one, other) in
        [("listen", "http-listen"), ("listen", "admin-listen"), ("admin-listen", "gateway-listen")]
    {
        let both = [one, other].map(|name| format!("--{name}={taken}"));
        let says = format!("{one} and {other} are both {taken}");
        refuses(serve_but_for(&store, one).args(both), &[&says, "a port of its own"]);
    }
    assert!(!store.data_dir.join("countersign-data").exists(), "something was made");
}

#[tokio::test]
async fn an_address_that_is_not_this_machines_is_refused() {
    let store = Store::unprepared(Database::Sqlite).await;
    for name in ["listen", "http-listen"] {
        let program = serve_but_for(&store, name).arg(format!("--{name}=192.0.2.1:1"));
        refuses(program, &["can't listen on 192.0.2.1:1", &format!("--{name}")]);
    }
}

#[tokio::test]
async fn a_database_url_that_others_can_read_or_that_is_given_twice_is_refused() {
    let store = Store::unprepared(Database::Sqlite).await;
    let file = store.data_dir.join("url");
    fs::write(&file, "postgres://u:hunter2@127.0.0.1:1/d").expect("writes");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("our own file");
    let from_file = || serve_but_for(&store, "").arg("--database-url-file").arg(&file);
    let line = refuses(from_file(), &["database URL file", "can be used by others"]);
    assert!(!line.contains("hunter2"), "{line}");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("our own file");
    let twice = from_file().args(["--database-url", "sqlite:x.db"]);
    refuses(twice, &["database-url and database-url-file are both given"]);
}

#[tokio::test]
async fn more_threads_than_the_system_gives_are_said_to_be_too_many() {
    let store = Store::unprepared(Database::Sqlite).await;
    let limited = r#"ulimit -n 200 && exec "$0" serve --verify-threads 100"#;
    let program = Program::new("sh").with_a_clean_environment().in_dir(&store.data_dir).args([
        "-c",
        limited,
        env!("CARGO_BIN_EXE_countersign"),
    ]);
    let says = ["can't start 100 verifying threads", "lower --verify-threads"];
    refuses(on_free_ports(program), &says);
}
