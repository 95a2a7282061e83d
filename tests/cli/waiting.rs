//! How far a change has come, as the command line says it, and what it says when no answer came.

use super::{Terminal, one_line_of_failure, secret_of};
use crate::harness::replicas::Told;
use crate::harness::{Database, Output, Program, Proxy, Replicas, Server, run};
use crate::on_both_databases;

impl Terminal {
    fn of_replica(replicas: &Replicas, number: usize) -> Self {
        let folder = run::new_data_dir(&run::unique_name());
        let endpoint = format!("http://{}", replicas[number].address());
        Self { folder, endpoint, credential: Some(replicas.store.admin()) }
    }

    /// A line of the shell in which `countersign` is ours.
    fn shell(&self, script: &str) -> Output {
        let script =
            script.replace("countersign ", concat!(env!("CARGO_BIN_EXE_countersign"), " "));
        let credential = self.credential.as_ref().expect("somebody");
        Program::new("/bin/sh")
            .in_dir(&self.folder)
            .args(["-c", &script])
            .env("COUNTERSIGN_ENDPOINT", &self.endpoint)
            .env("COUNTERSIGN_KEY_ID", &credential.key_id)
            .env("COUNTERSIGN_SECRET", &credential.secret)
            .run()
    }
}

on_both_databases! {
    async fn every_change_says_where_it_is_in_force(db: Database) {
        let server = Server::start(db).await;
        let admin = Terminal::of_admin(&server);
        let id = admin.creates().key_id;
        let id = id.as_str();
        let changes: [&[&str]; 6] = [
            &["update", id, "--name", "x"],
            &["expire-secret", id, "1"],
            &["disable", id],
            &["enable", id],
            &["revoke", id, "--reason", "unused"],
            &["delete", id],
        ];
        for change in changes {
            for wait in [&[][..], &["--wait", "none"], &["--wait", "all"]] {
                let words = ["keys"].iter().chain(change).chain(wait).copied();
                let said = admin.command(words).run().succeeded();
                let last = said.stdout.lines().last().expect("a line");
                let last: Vec<&str> = last.split_whitespace().collect();
                assert_eq!(last.join(" "), "in force on the one replica", "{change:?} {wait:?}");
                assert_eq!(said.stderr, "");
            }
        }
        let words = ["keys", "create", "--account", "acme", "--application", "x", "--name", "n"];
        let created = admin.command(words.into_iter().chain(["--wait", "all", "--json"]));
        let created = created.run().succeeded().json();
        secret_of(&created);
        assert_eq!(created["replicas"][0]["state"], "STATE_CONFIRMED");
        assert!(created["effectiveEverywhereBy"].is_string(), "{}", created["replicas"]);
        assert!(admin.fails(["keys", "disable", id, "--wait", "long"]).contains("all"));
    }

    async fn replicas_are_a_table_or_json(db: Database) {
        let server = Server::start(db).await;
        let admin = Terminal::of_admin(&server);
        let table = admin.says(["replicas"]);
        let lines: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["REPLICA", "REVISION", "LEASE", "REPORTED", "VERSION", "NOTE"]);
        assert_eq!(lines.len(), 2, "{table}");
        assert!(table.contains("30 s") && table.contains("gave this answer"), "{table}");
        let listed = admin.says_lines_of_json(["replicas"]);
        assert_eq!(listed.len(), 1);
        assert_eq!((&listed[0]["replicaId"], &listed[0]["self"]), (&lines[1][0].into(), &true.into()));
        let nobody = Terminal::without_credential(&server).fails(["replicas"]);
        assert_eq!(nobody, "no credential: looked for countersign-data/admin.env; use --credential-file, or COUNTERSIGN_KEY_ID and \
             COUNTERSIGN_SECRET");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_not_everywhere_is_made_and_said_so() {
    let replicas = Replicas::start(2, Told::default()).await;
    let there = replicas[1].id().await;
    let admin = Terminal::of_replica(&replicas, 0);
    let id = admin.creates().key_id;
    replicas[1].freeze();
    let said = admin.command(["keys", "disable", &id, "--wait", "all", "--timeout", "2"]).run();
    assert_eq!(said.status.code(), Some(1), "it was waited for in vain: {}", said.stderr);
    assert!(said.stdout.contains("DISABLED"), "{}", said.stdout);
    assert!(said.stdout.contains("in force on  1 of 2 replicas, all by 20"), "{}", said.stdout);
    let warning = "countersign: warning: the change is made, but does not hold everywhere yet: ";
    assert!(said.stderr.starts_with(&format!("{warning}{there} may answer")), "{}", said.stderr);
    let words = ["keys", "enable", &id, "--wait", "all", "--timeout", "2", "--json"];
    let said = admin.command(words).run();
    assert_eq!(said.status.code(), Some(1), "{}", said.stderr);
    assert!(said.stderr.starts_with(warning), "{}", said.stderr);
    let reply = said.json();
    let outcomes = reply["replicas"].as_array().expect("a list");
    let state = |is_self: bool| {
        let one = outcomes.iter().find(|one| one["self"] == is_self).expect("it is listed");
        one["state"].as_str().expect("a state").to_owned()
    };
    assert_eq!([state(true), state(false)], ["STATE_CONFIRMED", "STATE_PENDING"]);
    // Who did not ask for it is told on standard output alone.
    let said = admin.says(["keys", "disable", &id]);
    assert!(said.contains("1 of 2 replicas"), "{said}");
    replicas[1].thaw();
    let said = admin.says(["keys", "enable", &id, "--wait", "all"]);
    assert!(said.contains("in force on  all 2 replicas\n"), "{said}");
}

#[tokio::test]
async fn a_secret_that_could_not_be_printed_is_said_to_be_lost() {
    let server = Server::start(Database::Sqlite).await;
    let admin = Terminal::of_admin(&server);
    let create = "countersign keys create --account acme --application billing --name n";
    let mut made = Vec::new();
    for json in ["", " --json"] {
        let failed = admin.shell(&format!("{create}{json} > /dev/full"));
        let said = one_line_of_failure(&failed);
        let keys = admin.says_lines_of_json(["keys", "list", "--filter", "account_id = acme"]);
        let id = keys.last().expect("it was made")["keyId"].as_str().expect("an id").to_owned();
        let lost = format!("the secret of {id} is lost; rotate or revoke the key");
        assert!(said.starts_with("can't write the answer: ") && said.ends_with(&lost), "{said}");
        let rotate = format!("countersign keys rotate {id} --overlap 0{json} > /dev/full");
        let said = one_line_of_failure(&admin.shell(&rotate));
        assert!(said.ends_with(&lost), "{said}");
        made.push(id);
    }
    assert_ne!(made[0], made[1]);
}

#[tokio::test]
async fn no_secret_is_made_that_nobody_could_see() {
    let server = Server::start(Database::Sqlite).await;
    let admin = Terminal::of_admin(&server);
    let id = admin.creates().key_id;
    let before = admin.says_json(["keys", "get", &id]);
    let create = "countersign keys create --account acme --application billing --name n";
    for command in
        [create, &format!("countersign keys rotate {id} --overlap 0"), "countersign keys mint"]
    {
        let said = one_line_of_failure(&admin.shell(&format!("{command} >&-")));
        let why = "standard output is closed, so nobody would see the secret; nothing was made";
        assert_eq!(said, why, "{command}");
    }
    assert_eq!(
        admin.says_lines_of_json(["keys", "list", "--filter", "account_id = acme"]).len(),
        1
    );
    assert_eq!(admin.says_json(["keys", "get", &id]), before);
    // To have it thrown away is somebody's own decision.
    assert!(admin.shell(&format!("{create} > /dev/null")).status.success());
    assert!(admin.shell(&format!("countersign keys disable {id} >&-")).status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_leaves_a_change_that_may_have_been_made() {
    let server = Server::start(Database::Sqlite).await;
    let proxy = Proxy::to(server.address().parse().expect("an address")).await;
    let near = Terminal::of_admin(&server);
    let far =
        Terminal { endpoint: format!("http://{}", proxy.address()), ..Terminal::of_admin(&server) };
    let id = near.creates().key_id;

    proxy.lose_responses(1);
    assert!(far.says(["keys", "disable", &id]).contains("DISABLED"), "it is asked again");
    assert_eq!(proxy.lost_replies(), 1);

    let etag = near.says_json(["keys", "get", &id])["etag"].as_str().expect("an etag").to_owned();
    proxy.lose_responses(1);
    let said = far.fails(["keys", "update", &id, "--name", "x", "--etag", &etag]);
    let cut =
        format!("UNAVAILABLE: the connection to {} was cut before the answer came", far.endpoint);
    assert_eq!(said, format!("{cut}; a change may have been made"));
    assert_eq!(near.says_json(["keys", "get", &id])["displayName"], "x", "it was");

    proxy.lose_responses(5);
    assert_eq!(far.fails(["keys", "list"]), cut, "a question changes nothing");

    proxy.lose_responses(5);
    let create = ["keys", "create", "--account", "acme", "--application", "x", "--name", "n"];
    let said = far.fails(create);
    let advice = "; a change may have been made: run the same command again with --request-id ";
    let request_id = said.strip_prefix(&format!("{cut}{advice}"));
    let request_id = request_id.unwrap_or_else(|| panic!("no advice: {said}"));
    let again = near.command(create.into_iter().chain(["--json", "--request-id", request_id]));
    let again = secret_of(&again.run().succeeded().json());
    let filter = "application_id = x";
    let made = near.says_lines_of_json(["keys", "list", "--filter", filter]);
    assert_eq!(made.len(), 1, "one key for all attempts");
    assert_eq!(made[0]["keyId"], again.key_id.as_str());
}
