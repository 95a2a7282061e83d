//! A database of its own for each test, on the cluster of the run.

use std::sync::atomic::{AtomicUsize, Ordering};

use sea_orm::{ConnectionTrait, Database};

use super::run;

/// Makes an empty database and gives its URL. It is not dropped: its files are searched for secrets
/// at the end.
pub async fn new_database() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("cs_{}_{number}", std::process::id());
    let cluster = run::postgres_url();
    let connection = Database::connect(&cluster).await.expect("the cluster takes connections");
    // FILE_COPY keeps the template's megabytes out of the WAL, which the scan reads whole.
    let create = format!("CREATE DATABASE {name} TEMPLATE template0 STRATEGY FILE_COPY");
    connection.execute_unprepared(&create).await.expect("the superuser may create databases");
    connection.close().await.expect("the connection can be closed");
    let (server, _) = cluster.rsplit_once('/').expect("the URL names a database");
    format!("{server}/{name}")
}

/// The same database, reached at another address: through a proxy.
pub fn through(url: &str, address: std::net::SocketAddr) -> String {
    let (head, database) = url.rsplit_once('/').expect("the URL names a database");
    let (credentials, _) = head.rsplit_once('@').expect("the URL names a user");
    format!("{credentials}@{address}/{database}")
}

/// `host:port` of a database URL.
pub fn address_of(url: &str) -> std::net::SocketAddr {
    let (head, _) = url.rsplit_once('/').expect("the URL names a database");
    let (_, address) = head.rsplit_once('@').expect("the URL names a user");
    address.parse().expect("the cluster is reached by its address")
}

/// The user's name and password of a database URL.
pub fn user_of(url: &str) -> (&str, &str) {
    let (_, rest) = url.split_once("://").expect("the URL has a scheme");
    let (user, _) = rest.rsplit_once('@').expect("the URL names a user");
    user.split_once(':').expect("the URL has a password")
}
