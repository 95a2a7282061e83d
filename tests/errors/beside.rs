//! A way into a running server's database that goes around it.

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};

use crate::harness::Store;

/// One connection, so that what one statement locks, the next can unlock.
pub struct Beside(DatabaseConnection);

impl Beside {
    pub async fn of(store: &Store) -> Self {
        let file = store.data_dir.join("countersign.db");
        let url =
            store.url.clone().unwrap_or_else(|| format!("sqlite://{}?mode=rw", file.display()));
        let mut options = ConnectOptions::new(url);
        options.max_connections(1).sqlx_logging(false);
        Self(Database::connect(options).await.expect("the database is there"))
    }

    pub async fn run(&self, sql: &str) {
        self.0.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}
