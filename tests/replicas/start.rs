//! What keeps a server from starting: another one in its data folder.

use std::sync::Arc;

use crate::harness::{Server, Store};
use crate::on_both_databases;

on_both_databases! {
    async fn a_second_server_in_the_same_data_folder_refuses_to_start(db: Database) {
        let store = Arc::new(Store::fresh(db).await);
        let first = Server::on_store(Arc::clone(&store)).start().await;
        let second = Server::on_store(Arc::clone(&store)).program().run().failed();
        assert!(second.stderr.contains("data folder"), "{}", second.stderr);
        assert!(!second.stdout.contains("ready"), "{}", second.stdout);
        let caller = first.as_admin().await;
        caller.mint(crate::harness::key("acme", "billing")).await;

        // A lock that outlives its holder would keep a crashed server from coming back.
        let again = first.restart().await;
        again.as_admin().await.mint(crate::harness::key("acme", "billing")).await;
    }
}
