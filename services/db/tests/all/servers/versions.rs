use super::{journey, program::Postgres};
use crate::harness::*;

async fn on(major: &str) {
    let server = Postgres::start(major, &[], "host all all 127.0.0.1/32 scram-sha-256", &[]).await;
    let connection = connect(&server.url()).await;
    let version =
        rows(&connection, "SHOW server_version").await[0].try_get_by::<String, _>(0).unwrap();
    assert!(version.starts_with(&format!("{major}.")), "{version}");
    connection.close().await.unwrap();
    merch_db::migrate(server.url()).await.unwrap();
    journey(TestDatabase::external(server.url()), |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_15() {
    on("15").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_16() {
    on("16").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_18() {
    on("18").await;
}
