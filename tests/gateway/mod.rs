//! Gateways as people run them: the real Envoy and the real nginx with the very configuration of `examples/`, before a
//! service that records what arrives, asked with the real curl. And the same decision as Traefik asks for it.

mod docs;
mod envoy;
mod forward_auth;
mod nginx;
mod overloaded;
mod service;
mod settings;
mod story;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign::rpc::proto::Key;

use crate::harness::server::Builder;
use crate::harness::{
    Caller, Credential, Database, Minted, Program, Running, Server, eventually, key, run, tools,
};
use service::Service;

const START_LIMIT: Duration = Duration::from_secs(30);
const START_TRIES: usize = 5;
/// What ends with its test: workers outlive a master that is killed.
const ONE_PROCESS: &str = "daemon off; master_process off;";

/// What curl was answered.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// What it says that a credential needs, which it says once.
    #[track_caller]
    fn challenge(&self) -> &str {
        let mut all = self.headers.iter().filter(|(name, _)| name == "www-authenticate");
        let (Some((_, challenge)), None) = (all.next(), all.next()) else {
            panic!("not one challenge: {self:?}")
        };
        challenge
    }

    /// The reason in the problem that a refusal is explained with.
    #[track_caller]
    fn reason(&self) -> String {
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_else(|error| {
            panic!("{error}: {} {:?} {}", self.status, self.headers, self.body)
        });
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{problem}");
        assert_eq!(problem["status"], self.status, "{problem}");
        problem["reason"].as_str().expect("a reason").to_owned()
    }
}

/// Asks with the real curl.
fn curl(args: &[&str], url: &str) -> Reply {
    let silent =
        ["--silent", "--show-error", "--include", "--http1.1", "--path-as-is", "--max-time", "20"];
    let output = tools::curl().args(silent).args(args).arg(url).run().succeeded();
    let (head, body) = output.stdout.split_once("\r\n\r\n").expect("a head and a body");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
    let headers = lines.filter_map(|line| line.split_once(": "));
    Reply {
        status: status.parse().expect("a number"),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}

/// The two headers of a credential, as the documentation writes them.
fn two_headers(credential: &Credential) -> [String; 2] {
    [
        format!("Authorization: Bearer {}", credential.key_id),
        format!("X-Secret-Key: {}", credential.secret),
    ]
}

/// A service, Countersign, and a gateway in front of the service that asks Countersign.
struct Setup {
    server: Server,
    admin: Caller,
    service: Service,
    gateway: Running,
    url: String,
}

/// Which gateway stands before the service.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Envoy,
    Nginx,
}

impl Kind {
    fn folder(self) -> PathBuf {
        tools::in_repository(match self {
            Self::Envoy => "examples/envoy",
            Self::Nginx => "examples/nginx",
        })
    }

    fn file(self) -> &'static str {
        match self {
            Self::Envoy => "envoy.yaml",
            Self::Nginx => "nginx.conf",
        }
    }

    /// The example, with the ports of this test.
    fn configuration(self, ports: Ports) -> String {
        let Ports { own, service, countersign } = ports;
        let changes = match self {
            Self::Envoy => [
                ("port_value: 10000", format!("port_value: {own}")),
                ("port_value: 9000", format!("port_value: {service}")),
                ("port_value: 50051", format!("port_value: {countersign}")),
            ],
            Self::Nginx => [
                ("listen 8000;", format!("listen {own};")),
                ("127.0.0.1:9000", format!("127.0.0.1:{service}")),
                ("127.0.0.1:8081", format!("127.0.0.1:{countersign}")),
            ],
        };
        let file = self.file();
        let text = fs::read_to_string(self.folder().join(file)).expect("the example is there");
        changes.into_iter().fold(text, |text, (port, other)| {
            assert_eq!(text.matches(port).count(), 1, "{file} says {port} once");
            text.replace(port, &other)
        })
    }

    fn program(self, folder: &Path, file: &Path) -> Program {
        match self {
            Self::Envoy => {
                let flags =
                    ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
                tools::envoy().args(flags).arg("-c").arg(file)
            }
            Self::Nginx => {
                tools::nginx().arg("-p").arg(folder).arg("-c").arg(file).args(["-g", ONE_PROCESS])
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    own: u16,
    service: u16,
    countersign: u16,
}

/// A server with the routes of the example.
async fn serving(kind: Kind) -> Builder {
    with_routes(Server::on(Database::Sqlite).await, kind)
}

fn with_routes(builder: Builder, kind: Kind) -> Builder {
    with_settings(builder, &kind.folder().join("countersign.toml"))
}

/// A server with the routes of the example, and more.
async fn serving_also(kind: Kind, more: &str) -> Builder {
    let example = kind.folder().join("countersign.toml");
    let example = fs::read_to_string(example).expect("the example is there");
    let file = run::new_data_dir(&run::unique_name()).join("countersign.toml");
    fs::write(&file, format!("{example}\n{more}")).expect("the run folder takes files");
    with_settings(Server::on(Database::Sqlite).await, &file)
}

fn with_settings(builder: Builder, file: &Path) -> Builder {
    let file = file.to_str().expect("a path in UTF-8");
    builder.with_args(["--config", file, "--gateway-listen", "127.0.0.1:0"])
}

impl Setup {
    async fn of(kind: Kind) -> Self {
        Self::with(kind, &[]).await
    }

    /// With more settings of the server.
    async fn with(kind: Kind, args: &[&str]) -> Self {
        let server = serving(kind).await.with_args(args.iter().copied()).start().await;
        Self::before(kind, server, |text| text).await
    }

    /// A gateway before a server; `change` is made to its configuration.
    async fn before(kind: Kind, server: Server, change: impl Fn(String) -> String) -> Self {
        let service = Service::start().await;
        let countersign = match kind {
            Kind::Envoy => server.address(),
            Kind::Nginx => server.gateways(),
        };
        let countersign = countersign.parse::<SocketAddr>().expect("an address").port();
        let name = run::unique_name();
        let folder = run::new_data_dir(&format!("{name}-{kind:?}"));
        for _ in 0..START_TRIES {
            let probe =
                TcpListener::bind("127.0.0.1:0").expect("the loopback address has free ports");
            let own = probe.local_addr().expect("an address").port();
            drop(probe);
            let ports = Ports { own, service: service.port(), countersign };
            // Envoy may be given a credential of its own, and goes by the name of the file.
            let file = folder.join(format!("{}.allow-secrets.yaml", kind.file()));
            fs::write(&file, change(kind.configuration(ports)))
                .expect("the run folder takes files");
            let (log_path, log) = run::log_file(&format!("{name}-gateway"));
            let mut gateway = kind.program(&folder, &file).start(log);
            let came_up = eventually("the gateway listens or ends", START_LIMIT, async || {
                let ended = gateway.has_ended().then_some(false);
                ended.or_else(|| TcpStream::connect(("127.0.0.1", own)).is_ok().then_some(true))
            });
            if came_up.await {
                let admin = server.as_admin().await;
                return Self {
                    server,
                    admin,
                    service,
                    gateway,
                    url: format!("http://127.0.0.1:{own}"),
                };
            }
            let log = run::tail(&log_path, 15);
            assert!(log.contains("in use"), "the gateway ended while starting:\n{log}");
        }
        panic!("the gateway did not start in {START_TRIES} tries");
    }

    fn ask(&self, args: &[&str], path: &str) -> Reply {
        curl(args, &format!("{}{path}", self.url))
    }

    /// The request of the documentation, with that method, by the holder of that credential.
    fn ask_as(&self, credential: &Credential, method: &str, path: &str) -> Reply {
        let [key, secret] = two_headers(credential);
        self.ask(&["--request", method, "--header", &key, "--header", &secret], path)
    }

    /// A GET by the holder of that credential, who says more.
    fn ask_saying(&self, credential: &Credential, path: &str, headers: &[&str]) -> Reply {
        let [key, secret] = two_headers(credential);
        let headers = [key.as_str(), &secret].into_iter().chain(headers.iter().copied());
        let args: Vec<&str> = headers.flat_map(|header| ["--header", header]).collect();
        self.ask(&args, path)
    }

    async fn mint(&self, account: &str, scopes: &[&str]) -> Minted {
        let scopes = scopes.iter().map(ToString::to_string).collect();
        self.admin.mint(Key { scopes, ..key(account, "billing") }).await
    }
}
