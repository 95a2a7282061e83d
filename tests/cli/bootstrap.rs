//! `countersign migrate` and `countersign bootstrap`: the first administrator of an empty store.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use super::one_line_of_failure;
use crate::harness::{Credential, Database, Server, Store, canary, run, tools};
use crate::on_both_databases;

/// A store as an operator finds it: an empty database, and on PostgreSQL a root key file.
async fn prepared(db: Database) -> Store {
    let store = Store::unprepared(db).await;
    if db == Database::Postgres {
        let file = store.root_key_file();
        let file = file.to_str().expect("a path in ASCII");
        tools::countersign().args(["root-key", "generate", "--out", file]).run().succeeded();
    }
    store.command(["migrate"]).run().succeeded();
    store
}

fn noted(printed: &serde_json::Value) -> Credential {
    let credential = Credential::from_json(printed);
    canary::record_secret(&credential.secret);
    credential
}

/// A credential file, made as its documentation says.
fn minted(store: &Store) -> (String, Credential) {
    let pair = tools::countersign().args(["keys", "mint", "--json"]).run().succeeded();
    let path = store.data_dir.join("first.credential");
    run::write_private(&path, &pair.stdout);
    (path.to_str().expect("a path in ASCII").to_owned(), noted(&pair.json()))
}

async fn is_admin(server: &Server, credential: Credential) -> bool {
    let caller = server.caller(Some(credential)).await;
    caller.admin().list_keys(countersign::rpc::proto::ListKeysRequest::default()).await.is_ok()
}

on_both_databases! {
    async fn migrating_again_changes_nothing(db: Database) {
        let store = prepared(db).await;
        let said = store.command(["migrate"]).run().succeeded().stdout;
        assert!(said.ends_with(" is up to date\n"), "{said}");
    }

    async fn bootstrap_prints_one_credential_and_then_refuses(db: Database) {
        let store = prepared(db).await;
        let printed = store.command(["bootstrap", "--json"]).run().succeeded();
        let credential = noted(&printed.json());
        assert_eq!(printed.stdout.lines().count(), 1);
        let refused = one_line_of_failure(&store.command(["bootstrap"]).run());
        assert!(refused.contains("has an administrator already"), "{refused}");

        let server = Server::on_store(Arc::new(store)).start().await;
        assert!(is_admin(&server, credential).await);
    }

    async fn a_credential_file_may_be_installed_again_and_again(db: Database) {
        let store = prepared(db).await;
        let (file, credential) = minted(&store);
        let install = || store.command(["bootstrap", "--credential-file", &file]).run();
        let (first, again) = (install().succeeded().stdout, install().succeeded().stdout);
        let id = &credential.key_id;
        assert_eq!(first, format!("the credential {id} is installed\n"));
        assert_eq!(again, format!("the credential {id} was installed before\n"));

        // The id with another secret is somebody else's.
        let other = Credential::from_json(
            &tools::countersign().args(["keys", "mint", "--json"]).run().succeeded().json());
        canary::record_secret(&other.secret);
        let forged = format!("COUNTERSIGN_KEY_ID={id}\nCOUNTERSIGN_SECRET={}\n", other.secret);
        run::write_private(file.as_ref(), &forged);
        let refused = one_line_of_failure(&install());
        assert!(refused.contains("is in use with another secret"), "{refused}");

        let server = Server::on_store(Arc::new(store)).start().await;
        assert!(is_admin(&server, credential.clone()).await);
        assert!(!is_admin(&server, Credential { secret: other.secret, ..credential }).await);
    }

    async fn if_none_installs_the_first_and_leaves_alone_what_became_of_it(db: Database) {
        let store = prepared(db).await;
        let (file, first) = minted(&store);
        let install = || {
            store.command(["bootstrap", "--if-none", "--credential-file", &file]).run().succeeded()
        };
        assert_eq!(install().stdout, format!("the credential {} is installed\n", first.key_id));

        // Rotated: the file's secret is worth nothing any more, and is not brought back.
        let server = Server::on_store(Arc::new(store)).start().await;
        let caller = server.caller(Some(first.clone())).await;
        let rotate = countersign::rpc::proto::RotateKeyRequest {
            key_id: first.key_id.clone(),
            overlap: Some(prost_types::Duration::default()),
            ..Default::default()
        };
        let rotated = caller.admin().rotate_key(rotate).await.expect("it administers").into_inner();
        canary::record_secret(&rotated.secret);
        let store = server.store();
        let again = store.command(["bootstrap", "--if-none", "--credential-file", &file]).run().succeeded();
        assert_eq!(again.stdout, "");
        assert!(again.stderr.contains("has an administrator already"), "{}", again.stderr);
        let printed = store.command(["bootstrap", "--if-none"]).run().succeeded();
        assert_eq!(printed.stdout, "", "a second one was minted");
        assert!(!is_admin(&server, first.clone()).await);

        // Another administrator's credential is no reason to fail either.
        let other = tools::countersign().args(["keys", "mint"]).run().succeeded().stdout;
        canary::record_secret(other.rsplit('=').next().unwrap_or_default().trim());
        run::write_private(file.as_ref(), &other);
        let left = store.command(["bootstrap", "--if-none", "--credential-file", &file]).run().succeeded();
        assert!(left.stderr.contains("nothing was changed"), "{}", left.stderr);
    }

    async fn recover_mints_another_and_the_log_says_so(db: Database) {
        let store = prepared(db).await;
        noted(&store.command(["bootstrap", "--json"]).run().succeeded().json());
        let recovered =
            noted(&store.command(["bootstrap", "--recover", "--json"]).run().succeeded().json());

        let server = Server::on_store(Arc::new(store)).start().await;
        let caller = server.caller(Some(recovered.clone())).await;
        let request = countersign::rpc::proto::ListAuditEventsRequest::default();
        let log = caller.admin().list_audit_events(request).await.expect("it administers").into_inner();
        let last = log.events.last().expect("two events");
        assert_eq!(last.key_id, recovered.key_id);
        let who = last.actor.as_ref().and_then(|actor| actor.who.clone());
        let identity = "bootstrap --recover".to_owned();
        assert_eq!(who, Some(countersign::rpc::proto::actor::Who::Identity(identity)));
    }

    async fn a_credential_file_that_others_can_read_is_refused(db: Database) {
        let store = prepared(db).await;
        let (file, _) = minted(&store);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o604)).expect("it is ours");
        let words = ["bootstrap", "--credential-file", &file];
        let refused = one_line_of_failure(&store.command(words).run());
        assert!(refused.contains("can be used by others"), "{refused}");
        assert!(!refused.contains("css_"), "it quotes the secret");
    }
}

#[tokio::test]
async fn with_postgres_nothing_is_made_up() {
    let store = Store::unprepared(Database::Postgres).await;
    let url = store.url.as_deref().expect("PostgreSQL has a URL");
    let serve =
        ["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--database-url", url];
    let refused =
        one_line_of_failure(&tools::countersign().in_dir(&store.data_dir).args(serve).run());
    assert!(refused.contains("root-key-file is not given"), "{refused}");
    assert!(refused.contains("countersign root-key generate"), "{refused}");
    let left = std::fs::read_dir(&store.data_dir).expect("it is there").count();
    assert_eq!(left, 0, "files were made");
}
