use std::{io, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use super::{
    super::transport::Address,
    balancer::{Balancer, RemovalReason, Subchannel},
    channel::{Channel, Connect},
    connection::FailureKind,
};
use crate::error_chain;

const CHECK_INTERVAL: Duration = Duration::from_millis(200);
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_millis(250);
const CHECK_TIMEOUT: Duration = Duration::from_millis(400);
/// Consecutive timeouts before ejection, which takes at most one second: `CHECK_INTERVAL +
/// UNHEALTHY_THRESHOLD * CHECK_TIMEOUT`. One timeout may be a busy machine.
const UNHEALTHY_THRESHOLD: u32 = 2;
/// A timeout that fires later than this does not count: this process was stalled.
const MAX_SCHEDULING_DELAY: Duration = Duration::from_millis(100);
/// Consecutive timeouts, of two seconds together, before the connection is replaced: the route may
/// have changed.
const RECONNECT_THRESHOLD: u32 = 5;
/// How long calls may wait for a new connection after one was closed, for example at its maximum
/// age.
const RECONNECT_TIMEOUT: Duration = Duration::from_millis(250);

enum CheckResult {
    Serving,
    NotServing,
    Timeout,
    Disconnected,
}

pub(super) async fn run<D: Connect>(
    address: Address,
    dialer: D,
    service: &'static str,
    balancer: Arc<Balancer<D::Channel>>,
    unlisted: CancellationToken,
) {
    let checking = async {
        let mut backoff = MIN_BACKOFF;
        let mut logged: Option<String> = None;
        let mut replacement: Option<D::Channel> = None;
        loop {
            let listed = replacement.is_some();
            let opened = match replacement.take() {
                Some(connection) => Ok(connection),
                None => dialer.connect(&address).await,
            };
            match opened {
                Ok(connection) => {
                    let start = Instant::now();
                    let (served, reason) =
                        watch_health(&address, service, &balancer, &connection, listed).await;
                    if served {
                        backoff = MIN_BACKOFF;
                        logged = None;
                    }
                    let is_closed =
                        matches!(reason, RemovalReason::Closed | RemovalReason::Untrusted);
                    if served && is_closed && start.elapsed() >= MIN_BACKOFF {
                        let opening = timeout(RECONNECT_TIMEOUT, dialer.connect(&address));
                        if let Ok(Ok(connection)) = opening.await {
                            tracing::debug!(%address, "reconnected to replica");
                            replacement = Some(connection);
                            continue;
                        }
                    }
                    balancer.remove(&address, reason);
                }
                Err(error) => {
                    let reason = error_chain(error.to_string(), &*error);
                    // A configuration error: an invalid identity or a refused certificate. Logged
                    // once.
                    let is_config_error = error.downcast_ref::<io::Error>().is_some_and(|error| {
                        matches!(
                            error.kind(),
                            io::ErrorKind::InvalidData
                                | io::ErrorKind::InvalidInput
                                | io::ErrorKind::PermissionDenied
                        )
                    });
                    if is_config_error && logged.as_ref() != Some(&reason) {
                        tracing::warn!(
                            %address,
                            error = reason,
                            "failed to authenticate replica; retrying"
                        );
                        logged = Some(reason);
                    } else {
                        tracing::trace!(
                            %address,
                            error = reason,
                            "failed to connect to replica; retrying"
                        );
                    }
                }
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    };
    tokio::select! {
        () = unlisted.cancelled() => balancer.remove(&address, RemovalReason::Unlisted),
        () = checking => {}
    }
}

/// Returns whether the connection was ever healthy, and why it ended. `listed`: the balancer still
/// lists the previous connection.
async fn watch_health<C: Channel>(
    address: &Address,
    service: &'static str,
    balancer: &Balancer<C>,
    connection: &C,
    mut listed: bool,
) -> (bool, RemovalReason) {
    let closed =
        || if connection.is_untrusted() { RemovalReason::Untrusted } else { RemovalReason::Closed };
    let (mut served, mut serving, mut timeouts) = (false, false, 0);
    loop {
        let started = Instant::now();
        let result = tokio::select! {
            biased;
            () = connection.closed() => CheckResult::Disconnected,
            result = check(connection, service) => result,
        };
        let backoff = match result {
            CheckResult::Serving => {
                if !serving {
                    balancer.add(Subchannel::new(address.clone(), connection.clone()));
                }
                (served, serving, timeouts) = (true, true, 0);
                listed = true;
                CHECK_INTERVAL
            }
            CheckResult::NotServing => {
                balancer.remove(address, RemovalReason::NotServing);
                (serving, timeouts) = (false, 0);
                listed = false;
                MIN_BACKOFF
            }
            CheckResult::Timeout => {
                if started.elapsed() < CHECK_TIMEOUT + MAX_SCHEDULING_DELAY {
                    timeouts += 1;
                }
                if listed && timeouts >= UNHEALTHY_THRESHOLD {
                    balancer.eject(address);
                    (serving, listed) = (false, false);
                }
                if timeouts >= RECONNECT_THRESHOLD {
                    return (served, RemovalReason::Silent);
                }
                CHECK_TIMEOUT.saturating_sub(started.elapsed())
            }
            CheckResult::Disconnected => return (served, closed()),
        };
        balancer.notify_guards();
        tokio::select! {
            biased;
            () = connection.closed() => return (served, closed()),
            () = sleep(backoff) => {}
        }
    }
}

async fn check(connection: &impl Channel, service: &'static str) -> CheckResult {
    let mut request = Request::new(HealthCheckRequest { service: service.to_owned() });
    request.set_timeout(CHECK_TIMEOUT);
    match timeout(CHECK_TIMEOUT, connection.check_health(request)).await {
        Err(_) => CheckResult::Timeout,
        Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => {
            CheckResult::Serving
        }
        Ok(Ok(_)) => CheckResult::NotServing,
        Ok(Err(status)) => match (FailureKind::of(&status), status.code()) {
            (FailureKind::Unprocessed | FailureKind::Lost, _) => CheckResult::Disconnected,
            // A server without a health service counts as healthy (gRFC A17).
            (_, Code::Unimplemented) => CheckResult::Serving,
            // The store's servers respond just before the deadline.
            (_, Code::DeadlineExceeded) => CheckResult::Timeout,
            _ => CheckResult::NotServing,
        },
    }
}
