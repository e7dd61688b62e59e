use std::{
    sync::atomic::Ordering,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use merch_chassis::grpc::replicas::{CallError, Idempotency, Replicas};
use tokio::task::JoinHandle;
use tonic::Code;

use crate::{
    rejecting_server::{RejectingServer, Rejection},
    support::{Process, Server, call, replicas, until},
};

async fn owned_call(
    replicas: Replicas,
    idempotency: Idempotency,
    text: &'static str,
) -> Result<String, CallError> {
    call(&replicas, idempotency, text).await
}

fn begin(
    replicas: &Replicas,
    idempotency: Idempotency,
    text: &'static str,
) -> JoinHandle<Result<String, CallError>> {
    tokio::spawn(owned_call(replicas.clone(), idempotency, text))
}

/// Returns the call, its server and the other server.
async fn one_hangs(
    idempotency: Idempotency,
) -> (JoinHandle<Result<String, CallError>>, Server, Server) {
    let (one, other) = (Server::start().await, Server::start().await);
    let replicas = replicas([one.address, other.address]).await;
    let calling = begin(&replicas, idempotency, "sleep 300");
    until("the call is in flight", || one.calls() + other.calls() == 1).await;
    if one.calls() == 1 { (calling, one, other) } else { (calling, other, one) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_non_idempotent_call_is_not_retried() {
    let (calling, killed, other) = one_hangs(Idempotency::NonIdempotent).await;
    killed.kill();
    let error = calling.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, CallError::Failed(status) if status.code() == Code::Unavailable),
        "{error:?}"
    );
    assert_eq!(other.calls(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_idempotent_call_is_retried_once() {
    for idempotency in [Idempotency::Safe, Idempotency::Idempotent] {
        let (calling, killed, other) = one_hangs(idempotency).await;
        killed.kill();
        assert_eq!(calling.await.unwrap().unwrap(), other.address.to_string());
        assert_eq!(other.calls(), 1);
    }
}

/// Returns `false` if the pause took so long that the connection may have been replaced.
async fn calls_outlast_a_pause() -> bool {
    let (other, paused) = (Server::start().await, Process::start());
    let only = replicas([paused.address]).await;
    let both = replicas([paused.address, other.address]).await;
    // The first poll picks the replica; both are equally loaded, so one call goes to each.
    let mut calls: Vec<_> = (0..2)
        .map(|_| Box::pin(owned_call(both.clone(), Idempotency::NonIdempotent, "")))
        .collect();
    let mut lone = Box::pin(owned_call(only, Idempotency::Safe, ""));
    let start = Instant::now();
    paused.pause();
    for call in calls.iter_mut().chain([&mut lone]) {
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let calls: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
    let lone = tokio::spawn(lone);
    until("it is out", || both.serving() == 1).await;
    until("the one on the other is answered", || calls.iter().any(JoinHandle::is_finished)).await;
    let finished = calls.iter().filter(|call| call.is_finished()).count();
    let calls_to_other = other.calls();
    paused.resume();
    // A connection without a response for 2 s is replaced, and its calls are lost.
    if start.elapsed() > Duration::from_millis(1_500) {
        return false;
    }
    assert_eq!((finished, calls_to_other), (1, 1));
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().unwrap());
    }
    answers.sort();
    let mut expected = [paused.address.to_string(), other.address.to_string()];
    expected.sort();
    assert_eq!(answers, expected);
    assert_eq!(lone.await.unwrap().unwrap(), paused.address.to_string());
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn non_idempotent_call_waits_for_a_paused_replica() {
    for _ in 0..20 {
        if calls_outlast_a_pause().await {
            return;
        }
    }
    panic!("this machine is too slow: 20 pauses took longer than 1.5 s each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unprocessed_calls_are_always_retried() {
    for rejection in [Rejection::RefusedStream, Rejection::GoAway] {
        let (rejecting, server) = (RejectingServer::start(rejection).await, Server::start().await);
        let replicas = replicas([rejecting.address, server.address]).await;
        rejecting.reject.store(true, Ordering::SeqCst);
        let calls: Vec<_> =
            (0..20).map(|_| begin(&replicas, Idempotency::NonIdempotent, "")).collect();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap(), server.address.to_string(), "{rejection:?}");
        }
        assert!(
            rejecting.rejected.load(Ordering::SeqCst) > 0,
            "{rejection:?}: nothing was refused"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn possibly_processed_calls_are_retried_only_if_idempotent() {
    let (rejecting, server) =
        (RejectingServer::start(Rejection::Broken).await, Server::start().await);
    let replicas = replicas([rejecting.address, server.address]).await;
    rejecting.reject.store(true, Ordering::SeqCst);
    let calls: Vec<_> = (0..20).map(|_| begin(&replicas, Idempotency::NonIdempotent, "")).collect();
    let mut lost = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(by) => assert_eq!(by, server.address.to_string()),
            Err(CallError::Failed(status)) if status.code() == Code::Unavailable => lost += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(lost > 0);
    assert_eq!(call(&replicas, Idempotency::Safe, "").await.unwrap(), server.address.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_responses_are_retried_within_limits() {
    let servers = [Server::start().await, Server::start().await];
    let replicas = replicas(servers.iter().map(|server| server.address)).await;
    let all = || servers.iter().map(Server::calls).sum::<usize>();
    let code = |result: Result<String, CallError>| match result {
        Err(CallError::Failed(status)) => status.code(),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(call(&replicas, Idempotency::Safe, "refuse").await), Code::AlreadyExists);
    assert_eq!(all(), 1);
    assert_eq!(code(call(&replicas, Idempotency::Safe, "busy").await), Code::Unavailable);
    assert_eq!(all(), 3);
    assert_eq!(code(call(&replicas, Idempotency::NonIdempotent, "busy").await), Code::Unavailable);
    assert_eq!(all(), 4);
    assert_eq!(
        code(call(&replicas, Idempotency::Idempotent, "going down").await),
        Code::Unavailable
    );
    assert_eq!(all(), 7);
    assert_eq!(
        code(call(&replicas, Idempotency::NonIdempotent, "going down").await),
        Code::Unavailable
    );
    assert_eq!(all(), 8);
    for _ in 0..40 {
        assert_eq!(code(call(&replicas, Idempotency::Safe, "busy").await), Code::Unavailable);
    }
    assert!(all() < 8 + 40 + 12, "{}", all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_deadline_covers_all_attempts() {
    let server = Server::start().await;
    let replicas = replicas([server.address]).await;
    let start = tokio::time::Instant::now();
    let deadline = Duration::from_millis(300);
    let result = replicas
        .call(Idempotency::Safe, deadline, |connection, left| async move {
            crate::support::echo(connection, left, "hang").await
        })
        .await;
    let late = match &result {
        Err(CallError::DeadlineExceeded) => true,
        // The server knows the deadline and may respond slightly earlier.
        Err(CallError::Failed(status)) => status.code() == Code::DeadlineExceeded,
        _ => false,
    };
    assert!(late, "{result:?}");
    assert!(start.elapsed() < deadline * 4, "{:?}", start.elapsed());
    assert_eq!(server.calls(), 1);
}
