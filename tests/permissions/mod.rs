//! Who may call what: every RPC of the contract, tried as nobody, as a stranger and with every scope,
//! against the one table of verbs.

use std::collections::BTreeMap;
use std::fs;

use countersign::domain::credential::{Brands, mint_key_id, mint_secret};
use countersign::domain::ids::Environment;
use countersign::domain::permission::{Permission, VERBS};
use countersign::domain::random::{OsRandom, draw};
use countersign::rpc::proto::FILE_DESCRIPTOR_SET;
use countersign::rpc::proto::gateway::envoy::service::auth::v3::CheckResponse;
use prost::Message;
use prost_reflect::DescriptorPool;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::harness::{Credential, Database, Server, canary, tools};
use crate::rpc::verbs::{ALL_RESERVED, RESERVED_ACCOUNT, key_with_scopes};

/// Every RPC of the contract, e.g. `countersign.v1.KeyAdmin/GetKey`.
fn methods() -> Vec<String> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("our own descriptors");
    let methods = pool.services().flat_map(|service| {
        let names = service.methods().map(|method| method.name().to_owned()).collect::<Vec<_>>();
        names.into_iter().map(move |method| format!("{}/{method}", service.full_name()))
    });
    methods.collect()
}

/// The permission that the table asks for, by RPC.
fn table() -> BTreeMap<String, Permission> {
    VERBS.iter().map(|(_, name, permission)| ((*name).to_owned(), *permission)).collect()
}

/// `CreateKey` as the name of a file: `create_key`.
fn in_snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[test]
fn every_rpc_has_its_tests_and_its_permission() {
    let modules = fs::read_to_string(tools::in_repository("tests/rpc/mod.rs")).unwrap();
    let methods = methods();
    assert!(methods.len() >= 14, "{methods:?}");
    let table = table();
    for method in &methods {
        let (_, name) = method.split_once('/').unwrap();
        let module = in_snake_case(name);
        let path = format!("tests/rpc/{module}.rs");
        let tests = fs::read_to_string(tools::in_repository(&path));
        let tests = tests.unwrap_or_else(|_| panic!("{method} has no tests in {path}"));
        assert!(tests.contains("#[tokio::test]"), "{path} tests nothing");
        assert!(modules.contains(&format!("mod {module};")), "{path} is not part of the tests");
        assert!(table.contains_key(method), "{method} is not in permission::VERBS");
    }
    for verb in table.keys() {
        assert!(methods.contains(verb), "{verb} is in permission::VERBS but is no RPC");
    }
}

/// One who calls: what it is called in the report, its credential, and what it holds.
struct Column {
    name: String,
    credential: Option<Credential>,
    held: Held,
    /// Whether the key is of the reserved account.
    reserved: bool,
}

enum Held {
    /// Not authenticated at all.
    Nothing,
    Scopes(Vec<&'static str>),
}

impl Column {
    /// What the table says that this caller gets.
    fn expected(&self, method: &str, permission: Permission) -> Outcome {
        match &self.held {
            Held::Nothing => Outcome::Unauthenticated,
            // Replicas belong to no account.
            Held::Scopes(_) if method.ends_with("/ListReplicas") && !self.reserved => {
                Outcome::PermissionDenied
            }
            Held::Scopes(scopes) if scopes.contains(&permission.scope()) => Outcome::Passes,
            Held::Scopes(_) => Outcome::PermissionDenied,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Unauthenticated,
    PermissionDenied,
    /// The permission check, at least: the empty request may still be refused for what it lacks.
    Passes,
    /// Neither: nobody can say whether the caller would have been let in.
    Unclear(Code),
}

/// Calls an RPC with an empty message, which changes nothing anywhere.
async fn call(channel: &Channel, method: &str, credential: Option<&Credential>) -> Outcome {
    let mut request = Request::new(());
    if let Some(Credential { key_id, secret }) = credential {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", format!("Bearer {key_id}").parse().unwrap());
        metadata.insert("x-secret-key", secret.parse().unwrap());
    }
    match first_answer(channel, method, request).await.err().map(|status| status.code()) {
        Some(Code::Unauthenticated) => Outcome::Unauthenticated,
        Some(Code::PermissionDenied) => Outcome::PermissionDenied,
        Some(Code::Unimplemented) => panic!("{method} is in the contract but is not served"),
        None | Some(Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition) => {
            Outcome::Passes
        }
        Some(other) => Outcome::Unclear(other),
    }
}

async fn first_answer(channel: &Channel, method: &str, request: Request<()>) -> Result<(), Status> {
    if !method.ends_with("/Check") {
        return first_message::<()>(channel, method, request).await.map(drop);
    }
    // Gateways are refused in an answer, since some let pass on errors. Of the empty request it says that it is malformed.
    let reply: Option<CheckResponse> = first_message(channel, method, request).await?;
    let status = reply.and_then(|reply| reply.status).expect("a status");
    Err(Status::new(Code::from_i32(status.code), status.message))
}

/// A single reply is read as a stream of one, so every kind of RPC can be called alike.
async fn first_message<M: Message + Default + Send + 'static>(
    channel: &Channel,
    method: &str,
    request: Request<()>,
) -> Result<Option<M>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.expect("the server takes requests");
    let path = format!("/{method}").parse().expect("a path");
    let codec = ProstCodec::<(), M>::default();
    let mut replies = grpc.server_streaming(request, path, codec).await?.into_inner();
    replies.message().await
}

#[tokio::test]
async fn every_rpc_admits_whom_the_table_says_and_nobody_else() {
    let required = ["--verify-auth", "required"];
    let server = Server::on(Database::Sqlite).await.with_args(required).start().await;
    let admin = server.as_admin().await;
    let nobody = Column {
        name: "nobody".to_owned(),
        credential: None,
        held: Held::Nothing,
        reserved: false,
    };
    let stranger = Column {
        name: "a stranger".to_owned(),
        credential: Some(strangers_credential()),
        held: Held::Nothing,
        reserved: false,
    };
    let mut columns = vec![nobody, stranger];
    let mut holders: Vec<(String, &str, Vec<&str>)> =
        ALL_RESERVED.map(|scope| (format!("{scope} alone"), RESERVED_ACCOUNT, vec![scope])).into();
    holders.push(("no scope".to_owned(), RESERVED_ACCOUNT, vec![]));
    holders.push(("a customer with *".to_owned(), "acme", vec!["*"]));
    holders.push(("an account's full admin".to_owned(), "acme", ALL_RESERVED.into()));
    holders.push(("a full admin".to_owned(), RESERVED_ACCOUNT, ALL_RESERVED.into()));
    for (name, account, scopes) in holders {
        let credential = Some(admin.mint(key_with_scopes(account, &scopes)).await.credential);
        let reserved = account == RESERVED_ACCOUNT;
        columns.push(Column { name, credential, held: Held::Scopes(scopes), reserved });
    }

    let channel = Endpoint::from_shared(server.endpoint()).unwrap().connect().await.unwrap();
    let before = admin.events("").await.unwrap().len();
    let (table, mut wrong) = (table(), Vec::new());
    for method in methods() {
        for column in &columns {
            let outcome = call(&channel, &method, column.credential.as_ref()).await;
            let expected = column.expected(&method, table[&method]);
            if outcome != expected {
                wrong.push(format!("{method} as {}: {outcome:?}, not {expected:?}", column.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(admin.events("").await.unwrap().len(), before, "nothing was changed by asking");
}

/// A pair that looks like ours and was never issued.
fn strangers_credential() -> Credential {
    let (id, secret) = (draw(&OsRandom).unwrap(), draw(&OsRandom).unwrap());
    let secret = mint_secret(&Brands::default(), Environment::Live, secret).expose().to_owned();
    canary::record_secret(&secret);
    let key_id = mint_key_id(&Brands::default(), Environment::Live, id).to_string();
    Credential { key_id, secret }
}

#[test]
fn the_scopes_tried_are_all_there_are() {
    let mut tried = ALL_RESERVED;
    let mut all = Permission::ALL.map(Permission::scope);
    tried.sort_unstable();
    all.sort_unstable();
    assert_eq!(tried, all);
}
