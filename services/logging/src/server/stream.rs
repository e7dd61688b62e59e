//! One `StreamLogs` call: acknowledges requests in order, with several in flight to Kafka.

use std::{sync::Arc, time::Duration};

use merch_chassis::grpc::Role;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::{
    batch::BatchResult, dead_letter, kafka_client::KafkaClients, metrics, producer::KafkaProducer,
    record::ProducerRecord,
};
use crate::{
    proto::{RefusedEvent, StreamLogsRequest, StreamLogsResponse},
    rules::{self, Violation},
};

const RETRY_AFTER: Duration = Duration::from_millis(200);

struct PendingRequest {
    sequence: u64,
    result: oneshot::Receiver<BatchResult>,
}

/// `sender`: the role in the client certificate.
pub(crate) async fn serve<C: KafkaClients>(
    sender: Option<Role>,
    inbound: impl Stream<Item = Result<StreamLogsRequest, Status>> + Unpin,
    responses: mpsc::Sender<Result<StreamLogsResponse, Status>>,
    kafka: Arc<KafkaProducer<C>>,
    shutdown: CancellationToken,
) {
    metrics::STREAMS.inc();
    let (pending, queue) = mpsc::channel(kafka.config.stream_window.max(1));
    let both_halves = async {
        // An error of `acknowledge` ends both; the end of `receive` drops `pending`, which ends
        // `acknowledge` after the last request.
        tokio::try_join!(
            async { Ok(receive(sender, inbound, pending, &kafka, &shutdown).await) },
            acknowledge(queue, &responses, &kafka)
        )
    };
    tokio::select! {
        biased;
        // The sender sends unacknowledged events again; consumers drop duplicates.
        () = responses.closed() => {}
        ended = both_halves => {
            let status = match ended {
                Ok((Ok(()), ())) => None,
                Ok((Err(status), ())) | Err(status) => Some(status),
            };
            if let Some(status) = status {
                if status.code() == Code::InvalidArgument {
                    metrics::REFUSED.inc();
                }
                tracing::debug!(
                    code = ?status.code(),
                    reason = status.message(),
                    "closing a log stream"
                );
                drop(responses.send(Err(status)).await);
            }
        }
    }
    metrics::STREAMS.dec();
}

/// `Ok` when the sender closes its side.
async fn receive<C: KafkaClients>(
    sender: Option<Role>,
    mut inbound: impl Stream<Item = Result<StreamLogsRequest, Status>> + Unpin,
    pending: mpsc::Sender<PendingRequest>,
    kafka: &Arc<KafkaProducer<C>>,
    shutdown: &CancellationToken,
) -> Result<(), Status> {
    let mut expected: u64 = 1;
    let mut session = kafka.session();
    loop {
        let request = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(shutting_down()),
            request = inbound.next() => request.transpose()?,
        };
        let Some(request) = request else { return Ok(()) };
        let sequence = request.sequence;
        let records =
            check(request, expected, sender).map_err(|violations| invalid(&violations))?;
        expected += 1;
        let permit = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(shutting_down()),
            permit = session.reserve(&records) => permit,
        };
        // The shutdown waits for it, because Kafka may have stored a part of the request.
        let Some(result) = session.produce(records, permit).await else {
            return Err(unavailable(
                "Kafka did not store an earlier request; send unacknowledged events again",
            ));
        };
        if pending.send(PendingRequest { sequence, result }).await.is_err() {
            // `acknowledge` has ended the stream with its own status.
            return Ok(());
        }
    }
}

fn check(
    request: StreamLogsRequest,
    expected: u64,
    sender: Option<Role>,
) -> Result<Vec<ProducerRecord>, Vec<Violation>> {
    let mut violations = rules::check_request(&request, sender);
    if request.sequence != expected {
        violations.insert(
            0,
            Violation::new(
                "sequence",
                format!(
                    "{expected}, the sequence after the previous one; got {}",
                    request.sequence
                ),
            ),
        );
    }
    if !violations.is_empty() {
        return Err(violations);
    }
    let mut records = Vec::with_capacity(request.messages.len());
    for (index, message) in request.messages.into_iter().enumerate() {
        match ProducerRecord::new(message) {
            Ok(record) => records.push(record),
            Err(expected) => {
                violations.push(Violation::new(format!("messages[{index}]"), expected))
            }
        }
    }
    if violations.is_empty() { Ok(records) } else { Err(violations) }
}

/// In order. Returns the status after the first failure.
async fn acknowledge<C: KafkaClients>(
    mut queue: mpsc::Receiver<PendingRequest>,
    responses: &mpsc::Sender<Result<StreamLogsResponse, Status>>,
    kafka: &Arc<KafkaProducer<C>>,
) -> Result<(), Status> {
    let mut next = queue.recv().await;
    while let Some(PendingRequest { sequence, mut result }) = next {
        let refused = batch_outcome((&mut result).await, kafka).await?;
        let mut acknowledged = sequence;
        let mut failed = None;
        // Completed requests share one response, except for those with refused events, to keep it
        // small.
        next = loop {
            if !refused.is_empty() {
                break None;
            }
            let Ok(mut following) = queue.try_recv() else { break None };
            match following.result.try_recv() {
                Ok(Ok(refused)) if refused.is_empty() => acknowledged = following.sequence,
                Ok(result) => {
                    let (again, receiver) = oneshot::channel();
                    drop(again.send(result));
                    break Some(PendingRequest { result: receiver, ..following });
                }
                Err(oneshot::error::TryRecvError::Empty) => break Some(following),
                Err(oneshot::error::TryRecvError::Closed) => {
                    failed = Some(producer_closed());
                    break None;
                }
            }
        };
        if responses
            .send(Ok(StreamLogsResponse { acknowledged_sequence: acknowledged, refused }))
            .await
            .is_err()
        {
            return Ok(());
        }
        if let Some(status) = failed {
            return Err(status);
        }
        if next.is_none() {
            next = queue.recv().await;
        }
    }
    Ok(())
}

async fn batch_outcome<C: KafkaClients>(
    result: Result<BatchResult, oneshot::error::RecvError>,
    kafka: &Arc<KafkaProducer<C>>,
) -> Result<Vec<RefusedEvent>, Status> {
    let Ok(result) = result else { return Err(producer_closed()) };
    let failure = match result {
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
        "Kafka did not store log events; their sender will resend them"
    );
    Err(unavailable(&format!(
        "Kafka did not store the events; send unacknowledged events again: {}",
        failure.reason
    )))
}

fn shutting_down() -> Status {
    unavailable(
        "the logging service is shutting down; send unacknowledged events to another replica",
    )
}

fn producer_closed() -> Status {
    tracing::warn!(
        "the Kafka producer was closed with pending log events; their sender will resend them"
    );
    unavailable(
        "the Kafka producer was closed before it stored the events; send unacknowledged events \
         again",
    )
}

fn unavailable(message: &str) -> Status {
    Status::with_error_details(
        Code::Unavailable,
        message,
        ErrorDetails::with_retry_info(Some(RETRY_AFTER)),
    )
}

fn invalid(violations: &[Violation]) -> Status {
    /// Details are sent in an HTTP/2 header of limited size.
    const MAX_VIOLATIONS: usize = 16;
    let fields: Vec<FieldViolation> = violations
        .iter()
        .take(MAX_VIOLATIONS)
        .map(|violation| {
            FieldViolation::new(&violation.field, format!("expected {}", violation.expected))
        })
        .collect();
    let message = format!(
        "the request violates {} rule(s) of merch.logging.v1, first at {}",
        violations.len(),
        violations.first().map_or("", |first| &first.field)
    );
    Status::with_error_details(
        Code::InvalidArgument,
        message,
        ErrorDetails::with_bad_request(fields),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use merch_chassis::StartError;
    use rdkafka::error::KafkaError;
    use tokio::sync::Notify;
    use tokio_stream::wrappers::ReceiverStream;
    use uuid::Uuid;

    use super::*;
    use crate::{
        client::event::{Origin, event_name},
        connection::{Connection, KafkaContext, Security},
        proto::Level,
        server::{
            Config,
            batch::{Batch, ProduceMode},
            kafka_client::KafkaClient,
        },
    };

    /// Stores a record when the test says so.
    #[derive(Clone, Default)]
    struct SlowKafka(Arc<(Mutex<Vec<Arc<Batch>>>, Notify)>);

    impl KafkaClients for SlowKafka {
        type Client = Self;

        fn create(&self, _: &Config, _: KafkaContext, _: ProduceMode) -> Result<Self, StartError> {
            Ok(self.clone())
        }

        fn run_in_background(&self, task: impl Fn() + Send + Sync + 'static) {
            task();
        }
    }

    impl KafkaClient for SlowKafka {
        fn send(
            &self,
            _: &str,
            _: ProducerRecord,
            batch: &Arc<Batch>,
        ) -> Result<(), (KafkaError, Vec<u8>)> {
            self.0.0.lock().unwrap().push(Arc::clone(batch));
            self.0.1.notify_one();
            Ok(())
        }

        fn purge(&self) {}

        fn fatal_error(&self) -> Option<String> {
            None
        }
    }

    impl SlowKafka {
        async fn next_record(&self) -> Arc<Batch> {
            loop {
                let sent = self.0.0.lock().unwrap().pop();
                match sent {
                    Some(batch) => return batch,
                    None => self.0.1.notified().await,
                }
            }
        }
    }

    #[tokio::test]
    async fn shutdown_waits_for_a_request_that_is_stored_in_part() {
        let (clients, shutdown) = (SlowKafka::default(), CancellationToken::new());
        let config =
            Config::new(Connection { brokers: String::new(), security: Security::Plaintext });
        let kafka = Arc::new(KafkaProducer::new(config, clients.clone()).unwrap());
        kafka.isolate(ProduceMode::Single, "a test");
        let (requests, inbound) = mpsc::channel(1);
        let (responses, mut answers) = mpsc::channel(1);
        let inbound = ReceiverStream::new(inbound);
        tokio::spawn(serve(None, inbound, responses, kafka, shutdown.clone()));

        // Records of one key, so that the second waits for the first.
        let (origin, user) = (Origin::new("api"), Uuid::now_v7());
        let event = || {
            let event = origin.event(Level::Info, event_name::USER_LOGGED_IN, "A user logged in.");
            event.on_user(user).by_user(user).build()
        };
        let request = StreamLogsRequest { sequence: 1, messages: vec![event(), event()] };
        requests.send(Ok(request)).await.unwrap();
        let first = clients.next_record().await;
        shutdown.cancel();
        tokio::spawn(async move {
            first.delivered(1);
            clients.next_record().await.delivered(1);
        });

        let answer = answers.recv().await.unwrap();
        assert_eq!(answer.map(|response| response.acknowledged_sequence).ok(), Some(1));
        let end = answers.recv().await.unwrap().unwrap_err();
        assert_eq!(end.code(), Code::Unavailable);
    }
}
