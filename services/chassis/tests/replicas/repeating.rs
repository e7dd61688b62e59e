//! Which failures are tried again, and which never.

use std::{
    sync::atomic::Ordering,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use merch_chassis::grpc::replicas::{CallError, Kind, Replicas};
use tokio::task::JoinHandle;
use tonic::Code;

use crate::{
    refuser::{Refuser, Way},
    support::{Process, Server, call, replicas, until},
};

async fn owned_call(
    replicas: Replicas,
    kind: Kind,
    text: &'static str,
) -> Result<String, CallError> {
    call(&replicas, kind, text).await
}

fn begin(
    replicas: &Replicas,
    kind: Kind,
    text: &'static str,
) -> JoinHandle<Result<String, CallError>> {
    tokio::spawn(owned_call(replicas.clone(), kind, text))
}

/// Two servers, and a call that hangs on one of them: (the hanging one, the other one).
async fn one_hangs(kind: Kind) -> (JoinHandle<Result<String, CallError>>, Server, Server) {
    let (one, other) = (Server::start().await, Server::start().await);
    let replicas = replicas([one.address, other.address]).await;
    let calling = begin(&replicas, kind, "sleep 300");
    until("the call is under way", || one.calls() + other.calls() == 1).await;
    if one.calls() == 1 { (calling, one, other) } else { (calling, other, one) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_neither_safe_nor_keyed_is_not_sent_twice() {
    let (calling, dies, other) = one_hangs(Kind::Once).await;
    dies.kill();
    let error = calling.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, CallError::Failed(status) if status.code() == Code::Unavailable),
        "{error:?}"
    );
    assert_eq!(other.calls(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_safe_call_and_a_keyed_one_are_sent_once_more() {
    for kind in [Kind::Safe, Kind::Keyed] {
        let (calling, dies, other) = one_hangs(kind).await;
        dies.kill();
        assert_eq!(calling.await.unwrap().unwrap(), other.address.to_string());
        assert_eq!(other.calls(), 1);
    }
}

/// Pauses one of two replicas under calls and resumes it. Returns `false` if the machine took so
/// long that the connection may have been given up.
async fn calls_outlast_a_pause() -> bool {
    let (other, pauses) = (Server::start().await, Process::start());
    let only = replicas([pauses.address]).await;
    let both = replicas([pauses.address, other.address]).await;
    // Each call is polled as soon as the replica is paused, which chooses its replica: both are
    // tied, so one call goes to each.
    let mut calls: Vec<_> =
        (0..2).map(|_| Box::pin(owned_call(both.clone(), Kind::Once, ""))).collect();
    let mut lone = Box::pin(owned_call(only, Kind::Safe, ""));
    let begun = Instant::now();
    pauses.pause();
    for call in calls.iter_mut().chain([&mut lone]) {
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let calls: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
    let lone = tokio::spawn(lone);
    until("it is out", || both.serving() == 1).await;
    until("the one on the other is answered", || calls.iter().any(JoinHandle::is_finished)).await;
    let finished = calls.iter().filter(|call| call.is_finished()).count();
    let calls_to_other = other.calls();
    pauses.resume();
    // A connection that is silent for 2 s is given up, with the calls on it.
    if begun.elapsed() > Duration::from_millis(1_500) {
        return false;
    }
    // Neither the call that may not be repeated nor the one that has nowhere to go was given up.
    assert_eq!((finished, calls_to_other), (1, 1));
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().unwrap());
    }
    answers.sort();
    let mut expected = [pauses.address.to_string(), other.address.to_string()];
    expected.sort();
    assert_eq!(answers, expected);
    assert_eq!(lone.await.unwrap().unwrap(), pauses.address.to_string());
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_on_a_paused_replica_is_sent_elsewhere_only_if_that_is_harmless() {
    for _ in 0..20 {
        if calls_outlast_a_pause().await {
            return;
        }
    }
    panic!("this machine is too slow: 20 pauses took longer than 1.5 s each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_begun_with_is_tried_elsewhere_whatever_it_is() {
    for way in [Way::RefusedStream, Way::GoAway] {
        let (refuser, server) = (Refuser::start(way).await, Server::start().await);
        let replicas = replicas([refuser.address, server.address]).await;
        refuser.refuse.store(true, Ordering::SeqCst);
        let calls: Vec<_> = (0..20).map(|_| begin(&replicas, Kind::Once, "")).collect();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap(), server.address.to_string(), "{way:?}");
        }
        assert!(refuser.refused.load(Ordering::SeqCst) > 0, "{way:?}: nothing was refused");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_begun_with_is_not() {
    let (refuser, server) = (Refuser::start(Way::Broken).await, Server::start().await);
    let replicas = replicas([refuser.address, server.address]).await;
    refuser.refuse.store(true, Ordering::SeqCst);
    let calls: Vec<_> = (0..20).map(|_| begin(&replicas, Kind::Once, "")).collect();
    let mut lost = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(by) => assert_eq!(by, server.address.to_string()),
            Err(CallError::Failed(status)) if status.code() == Code::Unavailable => lost += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(lost > 0);
    // And those that are harmless reach the other one.
    assert_eq!(call(&replicas, Kind::Safe, "").await.unwrap(), server.address.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_answers() {
    let servers = [Server::start().await, Server::start().await];
    let replicas = replicas(servers.iter().map(|server| server.address)).await;
    let all = || servers.iter().map(Server::calls).sum::<usize>();
    let code = |result: Result<String, CallError>| match result {
        Err(CallError::Failed(status)) => status.code(),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(call(&replicas, Kind::Safe, "refuse").await), Code::AlreadyExists);
    assert_eq!(all(), 1);
    // Busy: once on another one, if harmless.
    assert_eq!(code(call(&replicas, Kind::Safe, "busy").await), Code::Unavailable);
    assert_eq!(all(), 3);
    assert_eq!(code(call(&replicas, Kind::Once, "busy").await), Code::Unavailable);
    assert_eq!(all(), 4);
    // Going down: twice at most.
    assert_eq!(code(call(&replicas, Kind::Keyed, "going down").await), Code::Unavailable);
    assert_eq!(all(), 7);
    assert_eq!(code(call(&replicas, Kind::Once, "going down").await), Code::Unavailable);
    assert_eq!(all(), 8);
    // When all are busy for long, the budget is spent and nobody asks twice any more.
    for _ in 0..40 {
        assert_eq!(code(call(&replicas, Kind::Safe, "busy").await), Code::Unavailable);
    }
    assert!(all() < 8 + 40 + 12, "{}", all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_deadline_holds_for_all_attempts() {
    let server = Server::start().await;
    let replicas = replicas([server.address]).await;
    let begun = tokio::time::Instant::now();
    let deadline = Duration::from_millis(300);
    let result = replicas
        .call(Kind::Safe, deadline, |connection, left| async move {
            crate::support::echo(connection, left, "hang").await
        })
        .await;
    let late = match &result {
        Err(CallError::TooLate) => true,
        // The server is told of the deadline and may be a little faster.
        Err(CallError::Failed(status)) => status.code() == Code::DeadlineExceeded,
        _ => false,
    };
    assert!(late, "{result:?}");
    assert!(begun.elapsed() < deadline * 4, "{:?}", begun.elapsed());
    assert_eq!(server.calls(), 1);
}
