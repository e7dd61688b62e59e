use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use merch_chassis::Readiness;
use merch_db::{Config, Database, Pool};
use sea_orm::ConnectionTrait as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use crate::harness::*;

/// Refuses the first `times` connections with `code`, as PostgreSQL does.
async fn refusing(
    test_database: &TestDatabase,
    code: &'static str,
    times: usize,
) -> (String, Arc<AtomicUsize>) {
    proxy(test_database, move |number, mut client, server| async move {
        if number < times {
            // The client may close the connection first.
            let _ = refuse(&mut client, code).await;
        } else {
            pass(client, &server).await;
        }
    })
    .await
}

/// Closes the connections with these numbers at their first statement.
async fn cutting_proxy(
    test_database: &TestDatabase,
    numbers: &'static [usize],
) -> (String, Arc<AtomicUsize>) {
    proxy(test_database, move |number, client, server| async move {
        if numbers.contains(&number) {
            cut(client, &server).await;
        } else {
            pass(client, &server).await;
        }
    })
    .await
}

async fn pass(mut client: TcpStream, server: &str) {
    let mut upstream = TcpStream::connect(server).await.unwrap();
    let _ = copy_bidirectional(&mut client, &mut upstream).await;
}

/// Forwards until the server is ready for a statement, then ends with the client's next message.
async fn cut(mut client: TcpStream, server: &str) {
    const READY_FOR_QUERY: &[u8] = b"Z\0\0\0\x05I";
    let mut upstream = TcpStream::connect(server).await.unwrap();
    let (mut asked, mut answered) = ([0; 4096], [0; 4096]);
    let mut is_ready = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(read) if read > 0 && !is_ready => {
                    upstream.write_all(&asked[..read]).await.unwrap()
                }
                Ok(_) | Err(_) => return,
            },
            read = upstream.read(&mut answered) => {
                let read = read.unwrap();
                is_ready = answered[..read].ends_with(READY_FOR_QUERY);
                if client.write_all(&answered[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Passes each connection to `serve`, with its number and the server's address. Returns the proxy's
/// URL and the number of connections.
async fn proxy<F>(
    test_database: &TestDatabase,
    serve: impl Fn(usize, TcpStream, String) -> F + Send + 'static,
) -> (String, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (before, rest) = test_database.url.split_once('@').unwrap();
    let (server, database) = rest.split_once('/').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("{before}@{}/{database}", listener.local_addr().unwrap());
    let (server, count) = (server.to_owned(), Arc::new(AtomicUsize::new(0)));
    let counter = count.clone();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(counter.fetch_add(1, Ordering::SeqCst), client, server.clone()));
        }
    });
    (url, count)
}

/// Sends an ErrorResponse to the start-up message (PostgreSQL protocol 3.0). Refuses TLS first if
/// the client requests it.
async fn refuse(client: &mut TcpStream, code: &str) -> std::io::Result<()> {
    const SSL_REQUEST: u32 = 80_877_103;
    loop {
        let length = client.read_u32().await?;
        let kind = client.read_u32().await?;
        let mut rest = vec![0; usize::try_from(length).unwrap() - 8];
        client.read_exact(&mut rest).await?;
        if kind != SSL_REQUEST {
            break;
        }
        client.write_all(b"N").await?;
    }
    let fields = format!(
        "SFATAL\0VFATAL\0C{code}\0Mthe database system is not yet accepting connections\0\0"
    );
    client.write_u8(b'E').await?;
    client.write_u32(u32::try_from(fields.len() + 4).unwrap()).await?;
    client.write_all(fields.as_bytes()).await?;
    client.shutdown().await
}

fn patient(start_timeout: Duration) -> Pool {
    Pool { start_timeout, ..Pool::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_waits_for_a_starting_server() {
    let test_database = TestDatabase::postgres().await;
    // cannot_connect_now, admin_shutdown, crash_shutdown, too_many_connections
    for code in ["57P03", "57P01", "57P02", "53300"] {
        let (url, count) = refusing(&test_database, code, 3).await;
        let database = Database::open(&url, &patient(TIMEOUT))
            .await
            .unwrap_or_else(|error| panic!("{code}: {error}"));
        assert!(count.load(Ordering::SeqCst) >= 4, "{code}");
        database.close().await;
        let (url, _) = refusing(&test_database, code, 2).await;
        assert_eq!(
            merch_db::migrate_with_timeout(&url, TIMEOUT).await.unwrap(),
            [] as [&str; 0],
            "{code}"
        );

        let (url, _) = refusing(&test_database, code, usize::MAX).await;
        let error = Database::open(&url, &patient(Duration::from_millis(600)))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("refuses the connection ({code})")), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_waits_for_transient_errors_only() {
    let test_database = TestDatabase::postgres().await;
    let (before, rest) = test_database.url.split_once('@').unwrap();
    let (server, database) = rest.split_once('/').unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (url, server) = (format!("{before}@{free}/{database}"), server.to_owned());
    let pool = patient(TIMEOUT);
    let opening = tokio::spawn(async move { Database::open(&url, &pool).await });
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!opening.is_finished(), "it waits");
    let listener = TcpListener::bind(free).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut upstream = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut upstream).await });
        }
    });
    tokio::time::timeout(TIMEOUT, opening).await.unwrap().unwrap().unwrap().close().await;

    // invalid_password, invalid_authorization_specification, invalid_catalog_name
    for code in ["28P01", "28000", "3D000"] {
        let (url, count) = refusing(&test_database, code, usize::MAX).await;
        Database::open(&url, &patient(TIMEOUT)).await.unwrap_err();
        assert_eq!(count.load(Ordering::SeqCst), 1, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_replaces_a_lost_connection() {
    let test_database = TestDatabase::postgres().await;
    let serve = async |patience: Duration, cut: &'static [usize]| {
        let (url, count) = cutting_proxy(&test_database, cut).await;
        let pool = Pool { start_timeout: patience, connections: 1, ..config(&test_database).pool };
        let config = Config { database: url.into(), pool, ..config(&test_database) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (readiness, shutdown) = (Readiness::expecting("db"), CancellationToken::new());
        let mut serving =
            tokio::spawn(merch_db::serve(listener, config, readiness.clone(), shutdown.clone()));
        let ended = tokio::select! {
            () = readiness.ready() => {
                shutdown.cancel();
                serving.await
            }
            ended = &mut serving => ended,
        };
        assert!(count.load(Ordering::SeqCst) > cut.len(), "all of them were closed");
        ended.unwrap().map_err(|error| error.to_string())
    };
    // The connection that reads the server's settings, and two later ones.
    serve(TIMEOUT, &[0, 2, 3]).await.unwrap();
    let error = serve(Duration::ZERO, &[1]).await.unwrap_err();
    assert!(error.contains("cannot be read") && error.ends_with("; try again"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_encoding_is_refused_with_instructions() {
    let test_database = TestDatabase::empty_postgres_with(
        "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    )
    .await;
    let opened =
        Database::open(&test_database.url, &Pool::default()).await.unwrap_err().to_string();
    let migrated = merch_db::migrate(&test_database.url).await.unwrap_err().to_string();
    for message in [opened, migrated] {
        assert!(
            message.contains("has the encoding SQL_ASCII; expected UTF8")
                && message.contains("CREATE DATABASE"),
            "{message}"
        );
    }
    let connection = connect(&test_database.url).await;
    assert!(
        rows(&connection, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'").await.is_empty(),
        "no table was created"
    );
    connection.execute_unprepared("SELECT 1").await.unwrap();
    connection.close().await.unwrap();
}
