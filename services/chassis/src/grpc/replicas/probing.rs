//! Whether one address serves, asked over and over by gRPC health.

use std::{io, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    super::transport::{Address, Dialer},
    choosing::{Line, Removal, Set},
    connection::{Connection, Fate},
};
use crate::with_causes;

/// Between an answer and the next question, while the replica serves.
const WHILE_SERVING: Duration = Duration::from_millis(200);
/// Between two attempts while it does not: the first of them, and the longest. A start should not
/// wait for long.
const WHILE_AWAY: Duration = Duration::from_millis(100);
const WHILE_AWAY_MOST: Duration = Duration::from_millis(250);
/// The time that an answer may take.
const DEADLINE: Duration = Duration::from_millis(400);
/// Questions without an answer after which calls go elsewhere. Two, as a machine that is busy now
/// and then misses one: a replica that is stopped is out after `WHILE_SERVING + MISSES * DEADLINE`,
/// one second, at the latest.
const MISSES: u32 = 2;
/// A question that was given up so much too late says more of this process, which did not get to
/// run, than of the replica.
const LATE: Duration = Duration::from_millis(100);
/// After so long without an answer the connection itself is given up: the way to a replica may be
/// another one when it comes back.
const SILENCE: Duration = Duration::from_secs(2);
/// How long calls wait for another connection to a replica whose connection was closed: a server
/// closes each in good order when it has reached its age.
const RENEWAL: Duration = Duration::from_millis(250);

/// What a question came to.
enum Verdict {
    Serving,
    NotServing,
    Silent,
    /// The connection takes no more calls.
    Broken,
}

/// Probes `address` until `unlisted` is cancelled, and tells `set` when calls may go there and when
/// not.
pub(super) async fn probe(
    address: Address,
    dialer: Dialer,
    service: &'static str,
    set: Arc<Set>,
    unlisted: CancellationToken,
) {
    let probing = async {
        let mut pause = WHILE_AWAY;
        let mut told: Option<String> = None;
        let mut renewed: Option<Connection> = None;
        loop {
            let listed = renewed.is_some();
            let opened = match renewed.take() {
                Some(connection) => Ok(connection),
                None => Connection::open(&address, &dialer).await,
            };
            match opened {
                Ok(connection) => {
                    let begun = Instant::now();
                    let (served, removal) =
                        attend(&address, service, &set, &connection, listed).await;
                    if served {
                        pause = WHILE_AWAY;
                        told = None;
                    }
                    let is_gone = matches!(removal, Removal::Closed | Removal::Untrusted);
                    // One that ends again and again is not opened more often than one that is away.
                    if served && is_gone && begun.elapsed() >= WHILE_AWAY {
                        let opening = timeout(RENEWAL, Connection::open(&address, &dialer));
                        if let Ok(Ok(connection)) = opening.await {
                            tracing::debug!(%address, "opened another connection to a replica");
                            renewed = Some(connection);
                            continue;
                        }
                    }
                    set.remove(&address, removal);
                }
                Err(error) => {
                    let reason = with_causes(error.to_string(), &*error);
                    // A replica that is not there is usual. One that proves to be another, or lets
                    // this process not in, is a wrong setting: it is logged once.
                    let wrong = error.downcast_ref::<io::Error>().is_some_and(|error| {
                        matches!(
                            error.kind(),
                            io::ErrorKind::InvalidData
                                | io::ErrorKind::InvalidInput
                                | io::ErrorKind::PermissionDenied
                        )
                    });
                    if wrong && told.as_ref() != Some(&reason) {
                        tracing::warn!(%address, error = reason, "failed to connect securely to a replica; retrying");
                        told = Some(reason);
                    } else {
                        tracing::trace!(%address, error = reason, "failed to connect to a replica");
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(WHILE_AWAY_MOST);
        }
    };
    tokio::select! {
        () = unlisted.cancelled() => set.remove(&address, Removal::Unlisted),
        () = probing => {}
    }
}

/// Asks on one connection until it is of no more use. Whether it ever served, and why it is left.
/// `listed` says that `set` still lists the connection before.
async fn attend(
    address: &Address,
    service: &'static str,
    set: &Set,
    connection: &Connection,
    mut listed: bool,
) -> (bool, Removal) {
    let closed = || if connection.is_untrusted() { Removal::Untrusted } else { Removal::Closed };
    let mut health = HealthClient::new(connection.clone());
    let (mut served, mut serving, mut misses) = (false, false, 0);
    let mut answered = Instant::now();
    loop {
        let asked = Instant::now();
        let verdict = tokio::select! {
            biased;
            () = connection.closed() => Verdict::Broken,
            verdict = ask(&mut health, service) => verdict,
        };
        let pause = match verdict {
            Verdict::Serving => {
                if !serving {
                    set.serve(Line::new(address.clone(), connection.clone()));
                }
                (served, serving, misses, answered) = (true, true, 0, Instant::now());
                listed = true;
                WHILE_SERVING
            }
            Verdict::NotServing => {
                set.remove(address, Removal::NotServing);
                (serving, misses, answered) = (false, 0, Instant::now());
                listed = false;
                WHILE_AWAY
            }
            Verdict::Silent => {
                if asked.elapsed() < DEADLINE + LATE {
                    misses += 1;
                }
                if listed && misses >= MISSES {
                    set.doubt(address);
                    (serving, listed) = (false, false);
                }
                if answered.elapsed() >= SILENCE {
                    return (served, Removal::Silent);
                }
                DEADLINE.saturating_sub(asked.elapsed())
            }
            Verdict::Broken => return (served, closed()),
        };
        set.release();
        tokio::select! {
            biased;
            () = connection.closed() => return (served, closed()),
            () = sleep(pause) => {}
        }
    }
}

async fn ask(health: &mut HealthClient<Connection>, service: &'static str) -> Verdict {
    let mut request = Request::new(HealthCheckRequest { service: service.to_owned() });
    request.set_timeout(DEADLINE);
    match timeout(DEADLINE, health.check(request)).await {
        Err(_) => Verdict::Silent,
        Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => Verdict::Serving,
        Ok(Ok(_)) => Verdict::NotServing,
        Ok(Err(status)) => match (Fate::of(&status), status.code()) {
            (Fate::NeverLeft | Fate::Lost, _) => Verdict::Broken,
            // A server without a health service is taken to be well (gRFC A17).
            (_, Code::Unimplemented) => Verdict::Serving,
            // Our servers answer so a little before the caller gives up: it is the same as no
            // answer.
            (_, Code::DeadlineExceeded) => Verdict::Silent,
            _ => Verdict::NotServing,
        },
    }
}
