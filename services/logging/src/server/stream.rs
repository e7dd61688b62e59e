//! One stream of log events: requests are taken in order and acknowledged in order, many of them
//! waiting for Kafka at the same time.

use std::{sync::Arc, time::Duration};

use merch_chassis::grpc::Role;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::{batch::Verdict, dead_letter, kafka::Kafka, meters, record::Record};
use crate::{
    proto::{RefusedEvent, StreamLogsRequest, StreamLogsResponse},
    rules::{self, Violation},
};

/// When a sender may come back after Kafka failed.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// A request that waits for Kafka.
struct Taken {
    sequence: u64,
    verdict: oneshot::Receiver<Verdict>,
}

/// Serves a stream to its end. `sender` is the role that the other side has proved, if any.
pub(super) async fn serve(
    sender: Option<Role>,
    inbound: Streaming<StreamLogsRequest>,
    responses: mpsc::Sender<Result<StreamLogsResponse, Status>>,
    kafka: Arc<Kafka>,
    shutdown: CancellationToken,
) {
    meters::STREAMS.inc();
    let (taken, waiting) = mpsc::channel(kafka.config.stream_window.max(1));
    let exchange = async {
        // Taking ends by itself and lets go of `taken`; acknowledging then ends with the last that
        // was taken. If Kafka fails, both end at once.
        tokio::try_join!(
            async { Ok(take(sender, inbound, taken, &kafka, &shutdown).await) },
            acknowledge(waiting, &responses, &kafka)
        )
    };
    tokio::select! {
        // The sender is gone: what it sent and Kafka takes all the same is sent once more, and
        // consumers drop repeats.
        () = responses.closed() => {}
        ended = exchange => {
            let status = match ended {
                Ok((Ok(()), ())) => None,
                Ok((Err(status), ())) | Err(status) => Some(status),
            };
            if let Some(status) = status {
                if status.code() == Code::InvalidArgument {
                    meters::REFUSED.inc();
                }
                tracing::debug!(code = ?status.code(), reason = status.message(), "a stream of log events is ended");
                drop(responses.send(Err(status)).await);
            }
        }
    }
    meters::STREAMS.dec();
}

/// Takes requests until the sender closes its side (`Ok`), breaks a rule, or the service stops.
async fn take(
    sender: Option<Role>,
    mut inbound: Streaming<StreamLogsRequest>,
    taken: mpsc::Sender<Taken>,
    kafka: &Arc<Kafka>,
    shutdown: &CancellationToken,
) -> Result<(), Status> {
    let mut expected: u64 = 1;
    let mut lane = kafka.lane();
    loop {
        let request = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(unavailable("the logging service is stopping; send what is not acknowledged to the next one")),
            request = inbound.message() => request?,
        };
        let Some(request) = request else { return Ok(()) };
        let sequence = request.sequence;
        let records =
            check(request, expected, sender).map_err(|violations| invalid(&violations))?;
        expected += 1;
        let Some(verdict) = lane.produce(records).await else {
            return Err(unavailable(
                "Kafka has failed for what was sent before; send what is not acknowledged again",
            ));
        };
        if taken.send(Taken { sequence, verdict }).await.is_err() {
            // The other half has ended the stream already, and its reason counts.
            return Ok(());
        }
    }
}

/// The records of a request, or all the rules that it breaks.
fn check(
    request: StreamLogsRequest,
    expected: u64,
    sender: Option<Role>,
) -> Result<Vec<Record>, Vec<Violation>> {
    let mut violations = rules::check_request(&request, sender);
    if request.sequence != expected {
        violations.insert(
            0,
            Violation {
                field: "sequence".to_owned(),
                expected: format!(
                    "{expected}, the number after the last one; it was {}",
                    request.sequence
                ),
            },
        );
    }
    if !violations.is_empty() {
        return Err(violations);
    }
    let mut records = Vec::with_capacity(request.messages.len());
    for (index, message) in request.messages.into_iter().enumerate() {
        match Record::new(message) {
            Ok(record) => records.push(record),
            Err(expected) => {
                violations.push(Violation { field: format!("messages[{index}]"), expected })
            }
        }
    }
    if violations.is_empty() { Ok(records) } else { Err(violations) }
}

/// Acknowledges what was taken, in order, once Kafka has. `Err` when Kafka failed, after all before
/// it is acknowledged.
async fn acknowledge(
    mut waiting: mpsc::Receiver<Taken>,
    responses: &mpsc::Sender<Result<StreamLogsResponse, Status>>,
    kafka: &Arc<Kafka>,
) -> Result<(), Status> {
    let mut next = waiting.recv().await;
    while let Some(Taken { sequence, mut verdict }) = next {
        let refused = kafka_took((&mut verdict).await, kafka).await?;
        let mut acknowledged = sequence;
        let mut failed = None;
        // Those behind it that are done by now share its response; not where it names events, so
        // that a response stays as small as a request.
        next = loop {
            if !refused.is_empty() {
                break None;
            }
            let Ok(mut following) = waiting.try_recv() else { break None };
            match following.verdict.try_recv() {
                Ok(Ok(refused)) if refused.is_empty() => acknowledged = following.sequence,
                Ok(verdict) => {
                    // Looked at again in its turn.
                    let (again, receiver) = oneshot::channel();
                    drop(again.send(verdict));
                    break Some(Taken { verdict: receiver, ..following });
                }
                Err(oneshot::error::TryRecvError::Empty) => break Some(following),
                Err(oneshot::error::TryRecvError::Closed) => {
                    failed = Some(lost());
                    break None;
                }
            }
        };
        if responses
            .send(Ok(StreamLogsResponse { acknowledged_sequence: acknowledged, refused }))
            .await
            .is_err()
        {
            // The sender is gone, which `serve` sees as well.
            return Ok(());
        }
        if let Some(status) = failed {
            return Err(status);
        }
        if next.is_none() {
            next = waiting.recv().await;
        }
    }
    Ok(())
}

/// The events that Kafka refused for good, when it took all others.
async fn kafka_took(
    verdict: Result<Verdict, oneshot::error::RecvError>,
    kafka: &Arc<Kafka>,
) -> Result<Vec<RefusedEvent>, Status> {
    let Ok(verdict) = verdict else { return Err(lost()) };
    let failure = match verdict {
        Ok(refused) => match dead_letter::report(kafka, refused).await {
            Ok(refused) => return Ok(refused),
            Err(failure) => failure,
        },
        Err(failure) => failure,
    };
    if let Some(mode) = failure.isolate {
        kafka.isolate(mode, &failure.reason);
    }
    tracing::warn!(
        reason = failure.reason,
        "Kafka did not take log events; their sender repeats them"
    );
    Err(unavailable(&format!(
        "Kafka did not take the events; send what is not acknowledged again: {}",
        failure.reason
    )))
}

/// The producer went away with the batch.
fn lost() -> Status {
    tracing::warn!(
        "the Kafka producer was closed with log events in it; they are not acknowledged and will be sent again"
    );
    unavailable("the events were lost on the way to Kafka; send what is not acknowledged again")
}

fn unavailable(message: &str) -> Status {
    Status::with_error_details(
        Code::Unavailable,
        message,
        ErrorDetails::with_retry_info(Some(RETRY_AFTER)),
    )
}

fn invalid(violations: &[Violation]) -> Status {
    /// Details travel in a header, which is bounded; the first ones are enough to find the fault.
    const SHOWN: usize = 16;
    let fields: Vec<FieldViolation> = violations
        .iter()
        .take(SHOWN)
        .map(|violation| {
            FieldViolation::new(&violation.field, format!("expected {}", violation.expected))
        })
        .collect();
    let message = format!(
        "the request breaks {} rule(s) of merch.logging.v1; the first is at {}",
        violations.len(),
        violations.first().map_or("", |first| &first.field)
    );
    Status::with_error_details(
        Code::InvalidArgument,
        message,
        ErrorDetails::with_bad_request(fields),
    )
}
