//! A PostgreSQL that is not ready yet, or is not as the store needs it.

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

/// A way to the server of `place` on which the first `times` connections are refused with `code`,
/// as PostgreSQL does. Gives the URL of the same database there, and how many connections came.
async fn refusing(place: &Place, code: &'static str, times: usize) -> (String, Arc<AtomicUsize>) {
    proxy(place, move |number, mut client, server| async move {
        if number < times {
            // The client may hang up first.
            let _ = refuse(&mut client, code).await;
        } else {
            pass(client, &server).await;
        }
    })
    .await
}

/// A way on which the connections with these numbers are made, and cut at their first statement.
async fn cutting(place: &Place, numbers: &'static [usize]) -> (String, Arc<AtomicUsize>) {
    proxy(place, move |number, client, server| async move {
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

/// Passes on what both say until the server is ready for a statement, and then ends with the next
/// message of the client.
async fn cut(mut client: TcpStream, server: &str) {
    const READY_FOR_QUERY: &[u8] = b"Z\0\0\0\x05I";
    let mut upstream = TcpStream::connect(server).await.unwrap();
    let (mut asked, mut answered) = ([0; 4096], [0; 4096]);
    let mut is_ready = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(read) if read > 0 && !is_ready => upstream.write_all(&asked[..read]).await.unwrap(),
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

/// A way to the server of `place` on which `serve` gets each connection, with its number and the
/// server's address. Gives the URL of the same database there, and how many connections came.
async fn proxy<F>(
    place: &Place,
    serve: impl Fn(usize, TcpStream, String) -> F + Send + 'static,
) -> (String, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (before, rest) = place.url.split_once('@').unwrap();
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

/// Answers the start-up message with an ErrorResponse (PostgreSQL's protocol 3.0), after "no" to
/// TLS if the client asks for it.
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

fn patient(start_patience: Duration) -> Pool {
    Pool { start_patience, ..Pool::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_accept_connections_yet_is_waited_for() {
    let place = Place::postgres().await;
    // cannot_connect_now, admin_shutdown, crash_shutdown, too_many_connections
    for code in ["57P03", "57P01", "57P02", "53300"] {
        let (url, count) = refusing(&place, code, 3).await;
        let database = Database::open(&url, &patient(PATIENCE))
            .await
            .unwrap_or_else(|error| panic!("{code}: {error}"));
        assert!(count.load(Ordering::SeqCst) >= 4, "{code}");
        database.close().await;
        let (url, _) = refusing(&place, code, 2).await;
        assert_eq!(
            merch_db::migrate_patiently(&url, PATIENCE).await.unwrap(),
            [] as [&str; 0],
            "{code}"
        );

        let (url, _) = refusing(&place, code, usize::MAX).await;
        let error = Database::open(&url, &patient(Duration::from_millis(600)))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("refuses the connection ({code})")), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_yet_is_waited_for_and_one_that_refuses_is_not() {
    let place = Place::postgres().await;
    let (before, rest) = place.url.split_once('@').unwrap();
    let (server, database) = rest.split_once('/').unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (url, server) = (format!("{before}@{free}/{database}"), server.to_owned());
    let pool = patient(PATIENCE);
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
    tokio::time::timeout(PATIENCE, opening).await.unwrap().unwrap().unwrap().close().await;

    // invalid_password, invalid_authorization_specification, invalid_catalog_name
    for code in ["28P01", "28000", "3D000"] {
        let (url, count) = refusing(&place, code, usize::MAX).await;
        Database::open(&url, &patient(PATIENCE)).await.unwrap_err();
        assert_eq!(count.load(Ordering::SeqCst), 1, "{code}");
    }
}

/// As when the server restarts once it has accepted the first connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_during_the_start_is_replaced() {
    let place = Place::postgres().await;
    let serve = async |patience: Duration, cut: &'static [usize]| {
        let (url, count) = cutting(&place, cut).await;
        let pool = Pool { start_patience: patience, connections: 1, ..config(&place).pool };
        let config = Config { database: url.into(), pool, ..config(&place) };
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
        assert!(count.load(Ordering::SeqCst) > cut.len(), "all of them were cut");
        ended.unwrap().map_err(|error| error.to_string())
    };
    // The first one on which the server's settings are read, and two of those that are made for the
    // schema and what follows.
    serve(PATIENCE, &[0, 2, 3]).await.unwrap();
    let error = serve(Duration::ZERO, &[1]).await.unwrap_err();
    assert!(error.contains("cannot be read") && error.ends_with("; try again"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_another_encoding_is_refused_with_what_to_do() {
    let place = Place::empty_postgres_with(
        "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    )
    .await;
    let opened = Database::open(&place.url, &Pool::default()).await.unwrap_err().to_string();
    let migrated = merch_db::migrate(&place.url).await.unwrap_err().to_string();
    for sentence in [opened, migrated] {
        assert!(
            sentence.contains("has the encoding SQL_ASCII; expected UTF8")
                && sentence.contains("CREATE DATABASE"),
            "{sentence}"
        );
    }
    let connection = connect(&place.url).await;
    assert!(
        rows(&connection, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'").await.is_empty(),
        "nothing was made"
    );
    connection.execute_unprepared("SELECT 1").await.unwrap();
    connection.close().await.unwrap();
}
