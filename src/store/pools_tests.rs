use sea_orm::ConnectionTrait as _;

use super::Settings;
use super::pools::Pools;
use super::url::{DatabaseUrl, Place};

/// sqlx ends what a dropped future leaves open on SQLite by itself, so no such future shows what happens otherwise.
#[tokio::test]
async fn what_was_left_open_on_sqlite_is_ended_before_the_next_use() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.db");
    std::fs::File::create(&path).expect("a file");
    let pools = Pools::new(&Settings::new(DatabaseUrl(Place::Sqlite(path))));
    let run = async |sql: &'static str| pools.writer.execute_unprepared(sql).await;
    run("CREATE TABLE things (number INTEGER)").await.expect("creates");
    run("BEGIN IMMEDIATE; INSERT INTO things VALUES (1)").await.expect("leaves it open");
    run("BEGIN IMMEDIATE; UPDATE things SET number = 2; COMMIT").await.expect("begins anew");
    let left = pools.writer.query_one_raw(sea_orm::Statement::from_string(
        sea_orm::DbBackend::Sqlite,
        "SELECT number FROM things",
    ));
    assert!(left.await.expect("reads").is_none(), "what nobody committed is there");
    pools.close().await.expect("closes");
}
