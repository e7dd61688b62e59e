use std::{fs, time::Duration};

use merch_chassis::{
    grpc::{
        TlsFiles,
        replicas::{CallError, Idempotency, Replicas},
    },
    pki::{ROLE_LIFETIME, Renew, make},
};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{
    Pki, Server, TEST_TIMEOUT, any_port, call, call_with, code, connect, metric, tls, until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valid_certificates_are_reloaded_and_invalid_ones_ignored() {
    let (pki, next) = (Pki::make(), Pki::make());
    let (db, api) = (pki.files("db"), pki.files("api"));
    let (server_side, client_side) = (tls(db.clone()), tls(api.clone()));
    let server = Server::start(&any_port(), &server_side).await;
    let works =
        async || code(call(&connect("db", &server.url, &client_side), "/test.Who/Gateway").await);
    assert_eq!(works().await.unwrap(), "the role api");

    let failed = metric("merch_tls_reloads_total", "failed");
    let key = fs::read(&db.key).unwrap();
    fs::copy(&next.files("db").key, &db.key).unwrap();
    until("the bad key is noticed", || metric("merch_tls_reloads_total", "failed") > failed).await;
    assert_eq!(works().await.unwrap(), "the role api");
    fs::write(&db.key, key).unwrap();

    let old = pki.copy();
    for role in ["db", "api"] {
        let (to, from) = (pki.files(role), next.files(role));
        for (from, to) in [(from.ca, to.ca), (from.key, to.key), (from.cert, to.cert)] {
            fs::copy(from, to).unwrap();
        }
    }
    let end = Instant::now() + TEST_TIMEOUT;
    let left_behind = tls(old.files("api"));
    while call(&connect("db", &server.url, &left_behind), "/test.Who/Gateway").await.is_ok() {
        assert!(Instant::now() < end, "the server still trusts the authority before");
    }
    while works().await.is_err() {
        assert!(Instant::now() < end, "the client has not taken the new certificate");
    }
}

fn load(
    replicas: Replicas,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<(usize, Vec<CallError>)> {
    tokio::spawn(async move {
        let (mut calls, mut failures) = (0, Vec::new());
        while !stop.is_cancelled() {
            calls += 1;
            failures.extend(
                call_with(Idempotency::NonIdempotent, &replicas, "/test.Who/Gateway").await.err(),
            );
        }
        (calls, failures)
    })
}

async fn watch(replicas: &Replicas) -> tokio::task::JoinHandle<Status> {
    let connection = replicas.pick_by_hash(0).await.connection();
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

/// Files are polled every two seconds.
async fn until_refused(replicas: &Replicas) {
    let start = Instant::now();
    loop {
        match call(replicas, "/test.Who/Gateway").await {
            Err(CallError::NoReplica) => break,
            outcome => assert!(start.elapsed() < TEST_TIMEOUT, "not refused: {outcome:?}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

fn replace(to: &TlsFiles, from: &TlsFiles, with_authority: bool) {
    fs::copy(&from.key, &to.key).unwrap();
    fs::copy(&from.cert, &to.cert).unwrap();
    if with_authority {
        fs::copy(&from.ca, &to.ca).unwrap();
    }
}

fn trust_both(files: &TlsFiles, other: &TlsFiles) {
    let both = [fs::read(&files.ca).unwrap(), fs::read(&other.ca).unwrap()].concat();
    fs::write(&files.ca, both).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authority_rotation_fails_no_call_and_removal_closes_connections() {
    let (pki, next) = (Pki::make(), Pki::make());
    let (db, api) = (pki.files("db"), pki.files("api"));
    for files in [&db, &api] {
        trust_both(files, &next.files("db"));
    }
    let before = pki.copy();
    let client_side = tls(api.clone());
    let server = Server::with_tls(db.clone()).await;
    let (moves, healthy) = (
        connect("db", &server.url, &client_side),
        connect("db", &server.url, &tls(before.files("api"))),
    );
    for replicas in [&moves, &healthy] {
        assert_eq!(code(call(replicas, "/test.Who/Gateway").await).unwrap(), "the role api");
    }
    let stop = CancellationToken::new();
    let (load, stream) = (load(moves, stop.clone()), watch(&healthy).await);

    // In use once each side connects with a role that trusts only the next authority.
    let other = Server::with_tls(next.files("db")).await;
    replace(&db, &next.files("db"), false);
    replace(&api, &next.files("api"), false);
    let end = Instant::now() + TEST_TIMEOUT;
    for (url, transport) in [(&server.url, &tls(next.files("api"))), (&other.url, &client_side)] {
        while call(&connect("db", url, transport), "/test.Who/Gateway").await.is_err() {
            assert!(Instant::now() < end, "the next certificate is not in use");
        }
    }
    assert_eq!(code(call(&healthy, "/test.Who/Gateway").await).unwrap(), "the role api");
    assert!(!stream.is_finished());

    replace(&db, &next.files("db"), true);
    replace(&api, &next.files("api"), true);
    until_refused(&healthy).await;
    let status = timeout(TEST_TIMEOUT, stream).await.expect("the stream ends").unwrap();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    stop.cancel();
    let (calls, failures) = load.await.unwrap();
    assert!(calls > 0 && failures.is_empty(), "of {calls}: {failures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_of_a_removed_authority_gets_no_calls() {
    let (pki, next) = (Pki::make(), Pki::make());
    let (db, api) = (pki.files("db"), pki.files("api"));
    trust_both(&db, &next.files("db"));
    let server = Server::with_tls(db).await;
    let replicas = connect("db", &server.url, &tls(api.clone()));
    assert_eq!(code(call(&replicas, "/test.Who/Gateway").await).unwrap(), "the role api");
    let stream = watch(&replicas).await;
    replace(&api, &next.files("api"), true);
    until_refused(&replicas).await;
    let status = timeout(TEST_TIMEOUT, stream).await.expect("the stream ends").unwrap();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_certificate_closes_open_connections() {
    let pki = Pki::make();
    make(pki.0.path(), Renew::All, Duration::from_secs(8)).unwrap();
    let short = pki.copy();
    make(pki.0.path(), Renew::All, ROLE_LIFETIME).unwrap();
    let servers =
        [Server::with_tls(pki.files("db")).await, Server::with_tls(short.files("db")).await];
    let both = [
        connect("db", &servers[0].url, &tls(short.files("api"))),
        connect("db", &servers[1].url, &tls(pki.files("api"))),
    ];
    for replicas in &both {
        assert_eq!(code(call(replicas, "/test.Who/Gateway").await).unwrap(), "the role api");
    }
    for replicas in &both {
        until_refused(replicas).await;
    }
}
