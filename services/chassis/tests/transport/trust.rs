//! What happens to open connections when certificates change, expire or are no longer trusted.

use std::{fs, time::Duration};

use merch_chassis::{
    grpc::{
        Files,
        replicas::{CallError, Kind, Replicas},
    },
    pki::{ROLE_LIFETIME, Renew, make},
};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{
    PATIENCE, Pki, Server, any_port, call, call_of, code, find, metric, tls, until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_files_are_taken_and_bad_ones_are_not() {
    let (pki, next) = (Pki::make(), Pki::make());
    let (db, api) = (pki.files("db"), pki.files("api"));
    let (server_side, client_side) = (tls(db.clone()), tls(api.clone()));
    let server = Server::start(&any_port(), &server_side).await;
    let works =
        async || code(call(&find("db", &server.url, &client_side), "/test.Who/Gateway").await);
    assert_eq!(works().await.unwrap(), "the role api");

    // A key of another certificate: the one before stays.
    let failed = metric("merch_tls_reloads_total", "failed");
    let key = fs::read(&db.key).unwrap();
    fs::copy(&next.files("db").key, &db.key).unwrap();
    until("the bad key is noticed", || metric("merch_tls_reloads_total", "failed") > failed).await;
    assert_eq!(works().await.unwrap(), "the role api");
    fs::write(&db.key, key).unwrap();

    // Another authority everywhere: certificates of the one before are refused.
    let old = pki.copy();
    for role in ["db", "api"] {
        let (to, from) = (pki.files(role), next.files(role));
        for (from, to) in [(from.ca, to.ca), (from.key, to.key), (from.cert, to.cert)] {
            fs::copy(from, to).unwrap();
        }
    }
    let end = Instant::now() + PATIENCE;
    let left_behind = tls(old.files("api"));
    while call(&find("db", &server.url, &left_behind), "/test.Who/Gateway").await.is_ok() {
        assert!(Instant::now() < end, "the server still trusts the authority before");
    }
    while works().await.is_err() {
        assert!(Instant::now() < end, "the client has not taken the new certificate");
    }
}

/// Calls one after another until `stop`. Returns the number of calls, and the failures.
fn load(
    replicas: Replicas,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<(usize, Vec<CallError>)> {
    tokio::spawn(async move {
        let (mut calls, mut failures) = (0, Vec::new());
        while !stop.is_cancelled() {
            calls += 1;
            failures.extend(call_of(Kind::Once, &replicas, "/test.Who/Gateway").await.err());
        }
        (calls, failures)
    })
}

/// Reads a stream over a connection to one of `replicas`, until it fails.
async fn watch(replicas: &Replicas) -> tokio::task::JoinHandle<Status> {
    let connection = replicas.hold(0).await.connection();
    let request = HealthCheckRequest { service: String::new() };
    let mut stream = HealthClient::new(connection).watch(request).await.unwrap().into_inner();
    tokio::spawn(async move {
        loop {
            match stream.next().await {
                Some(Ok(_)) => {}
                Some(Err(status)) => return status,
                None => panic!("a stream of health has no end"),
            }
        }
    })
}

/// Calls until there is no replica any more, which is soon: the files are read every two seconds.
async fn until_refused(replicas: &Replicas) {
    let begun = Instant::now();
    loop {
        match call(replicas, "/test.Who/Gateway").await {
            Err(CallError::NoReplica) => break,
            outcome => assert!(begun.elapsed() < PATIENCE, "not refused: {outcome:?}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Puts the files of `from` in the place of those of `to`.
fn replace(to: &Files, from: &Files, with_authority: bool) {
    fs::copy(&from.key, &to.key).unwrap();
    fs::copy(&from.cert, &to.cert).unwrap();
    if with_authority {
        fs::copy(&from.ca, &to.ca).unwrap();
    }
}

/// Trusts both authorities.
fn trust_both(files: &Files, other: &Files) {
    let both = [fs::read(&files.ca).unwrap(), fs::read(&other.ca).unwrap()].concat();
    fs::write(&files.ca, both).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_is_removed_ends_open_connections_and_its_rotation_fails_no_call() {
    let (pki, next) = (Pki::make(), Pki::make());
    let (db, api) = (pki.files("db"), pki.files("api"));
    for files in [&db, &api] {
        trust_both(files, &next.files("db"));
    }
    let before = pki.copy();
    let client_side = tls(api.clone());
    let server = Server::with_tls(db.clone()).await;
    let (moves, stays) =
        (find("db", &server.url, &client_side), find("db", &server.url, &tls(before.files("api"))));
    for replicas in [&moves, &stays] {
        assert_eq!(code(call(replicas, "/test.Who/Gateway").await).unwrap(), "the role api");
    }
    let stop = CancellationToken::new();
    let (load, stream) = (load(moves, stop.clone()), watch(&stays).await);

    // Certificates of the next authority. Both sides use them when each can reach, or be reached
    // by, a role that trusts that authority alone.
    let other = Server::with_tls(next.files("db")).await;
    replace(&db, &next.files("db"), false);
    replace(&api, &next.files("api"), false);
    let end = Instant::now() + PATIENCE;
    for (url, transport) in [(&server.url, &tls(next.files("api"))), (&other.url, &client_side)] {
        while call(&find("db", url, transport), "/test.Who/Gateway").await.is_err() {
            assert!(Instant::now() < end, "the next certificate is not in use");
        }
    }
    assert_eq!(code(call(&stays, "/test.Who/Gateway").await).unwrap(), "the role api");
    assert!(!stream.is_finished());

    replace(&db, &next.files("db"), true);
    replace(&api, &next.files("api"), true);
    until_refused(&stays).await;
    let status = timeout(PATIENCE, stream).await.expect("the stream ends").unwrap();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    stop.cancel();
    let (calls, failures) = load.await.unwrap();
    assert!(calls > 0 && failures.is_empty(), "of {calls}: {failures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_an_authority_that_is_removed_gets_no_more_calls() {
    let (pki, next) = (Pki::make(), Pki::make());
    let (db, api) = (pki.files("db"), pki.files("api"));
    trust_both(&db, &next.files("db"));
    let server = Server::with_tls(db).await;
    let replicas = find("db", &server.url, &tls(api.clone()));
    assert_eq!(code(call(&replicas, "/test.Who/Gateway").await).unwrap(), "the role api");
    let stream = watch(&replicas).await;
    replace(&api, &next.files("api"), true);
    until_refused(&replicas).await;
    // Not only new calls: the client stops reading what the other side still sends.
    let status = timeout(PATIENCE, stream).await.expect("the stream ends").unwrap();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_expires_ends_its_open_connections() {
    let pki = Pki::make();
    // Valid for long enough to connect.
    make(pki.0.path(), Renew::All, Duration::from_secs(8)).unwrap();
    let short = pki.copy();
    make(pki.0.path(), Renew::All, ROLE_LIFETIME).unwrap();
    let servers =
        [Server::with_tls(pki.files("db")).await, Server::with_tls(short.files("db")).await];
    let both = [
        find("db", &servers[0].url, &tls(short.files("api"))),
        find("db", &servers[1].url, &tls(pki.files("api"))),
    ];
    for replicas in &both {
        assert_eq!(code(call(replicas, "/test.Who/Gateway").await).unwrap(), "the role api");
    }
    for replicas in &both {
        until_refused(replicas).await;
    }
}
