use std::{sync::Arc, time::Duration};

use merch_contract::grpc::logging::v1::{
    LogMessage, StreamLogsRequest, StreamLogsResponse,
    logging_service_server::{LoggingService, LoggingServiceServer},
};
use merch_db::{Outbox, ShippedEvents};
use merch_logging::client::EventSource as _;
use sea_orm::ConnectionTrait as _;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::harness::*;

#[derive(Clone, Default)]
pub(crate) struct LogRecorder(Arc<Mutex<Vec<LogMessage>>>);

#[tonic::async_trait]
impl LoggingService for LogRecorder {
    type StreamLogsStream = ReceiverStream<Result<StreamLogsResponse, Status>>;

    async fn stream_logs(
        &self,
        request: Request<Streaming<StreamLogsRequest>>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let (mut requests, kept) = (request.into_inner(), self.0.clone());
        let (answers, stream) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                kept.lock().await.extend(request.messages);
                if answers
                    .send(Ok(StreamLogsResponse {
                        acknowledged_sequence: request.sequence,
                        refused: Vec::new(),
                    }))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

pub(crate) async fn log_recorder() -> (LogRecorder, String) {
    let recorder = LogRecorder::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = LoggingServiceServer::new(recorder.clone());
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    (recorder, url)
}

async fn shipped(
    test_database: TestDatabase,
    policy: ShippedEvents,
) -> (LogRecorder, TestDatabase) {
    let (recorder, url) = log_recorder().await;
    let mut config = config(&test_database);
    config.logging_endpoint = url;
    config.shipped_events = policy;
    config.drain = Duration::from_secs(20);
    let store = TestService::start_with(test_database, config).await;
    let buyer = store
        .register(&format!("u{}", uuid::Uuid::now_v7().simple().to_string().split_off(24)))
        .await;
    store.buy(&buyer, HOODIE, 1).await;
    let test_database = store.stop().await;
    (recorder, test_database)
}

async fn stored(test_database: &TestDatabase, what: &str) -> i64 {
    let connection = connect(&test_database.url).await;
    let found = rows(&connection, &format!("SELECT count(*) FROM outbox {what}")).await;
    connection.close().await.unwrap();
    found[0].try_get_by(0).unwrap()
}

pub(crate) async fn event_names(recorder: &LogRecorder) -> Vec<String> {
    recorder.0.lock().await.iter().map(|event| event.event.clone()).collect()
}

async fn assert_shipped_events_are_deleted(test_database: TestDatabase) {
    let (recorder, test_database) = shipped(test_database, ShippedEvents::Delete).await;
    assert_eq!(event_names(&recorder).await, ["user_registered", "order_placed"]);
    assert_eq!(stored(&test_database, "").await, 0);
}

#[tokio::test]
async fn shipped_events_are_deleted_on_sqlite() {
    assert_shipped_events_are_deleted(TestDatabase::sqlite().await).await;
}

#[tokio::test]
async fn shipped_events_are_deleted_on_postgres() {
    assert_shipped_events_are_deleted(TestDatabase::postgres().await).await;
}

#[tokio::test]
async fn newest_events_are_shipped_again_at_start() {
    let policy = ShippedEvents::ShipAgainAtStart { kept: 3 };
    let (first, test_database) = shipped(TestDatabase::sqlite().await, policy).await;
    assert_eq!(event_names(&first).await, ["user_registered", "order_placed"]);
    assert_eq!(stored(&test_database, "WHERE shipped_at IS NOT NULL").await, 2);
    let (second, test_database) = shipped(test_database, policy).await;
    assert_eq!(
        event_names(&second).await,
        ["user_registered", "order_placed", "user_registered", "order_placed"]
    );
    assert_eq!(
        first.0.lock().await[..],
        second.0.lock().await[..2],
        "the same events, with their ids"
    );
    let (third, _) = shipped(test_database, policy).await;
    assert_eq!(
        event_names(&third).await,
        ["order_placed", "user_registered", "order_placed", "user_registered", "order_placed"]
    );
}

on_both!(
    async fn rolled_back_change_has_no_event(store: &TestService) {
        store.register("ada").await;
        let ids: std::collections::HashSet<String> =
            store.events().await.into_iter().map(|event| event.id).collect();
        // The insert of the event fails, which rolls back the row.
        let break_outbox = match store.backend() {
            sea_orm::DbBackend::Sqlite => {
                "CREATE TRIGGER broken BEFORE INSERT ON outbox
                 BEGIN SELECT RAISE(FAIL, 'broken'); END"
            }
            _ => {
                "ALTER TABLE outbox
                 ADD CONSTRAINT broken CHECK (created_at < '2000-01-01') NOT VALID"
            }
        };
        store.sql(break_outbox).await;
        let status = store.client().create_user(call(new_user("bob"))).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Internal);
        assert_eq!((store.count("users").await, store.events().await.len(), ids.len()), (1, 1, 1));
    }
);

on_both!(
    async fn failing_backlog_count_keeps_the_service_ready(store: &TestService) {
        store.sql("ALTER TABLE outbox RENAME TO elsewhere").await;
        let (listener, shutdown) = (
            tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(),
            tokio_util::sync::CancellationToken::new(),
        );
        let readiness = merch_chassis::Readiness::expecting("db");
        let second = tokio::spawn(merch_db::serve(
            listener,
            config(&store.test_database),
            readiness.clone(),
            shutdown.clone(),
        ));
        eventually("the service is ready", || async { readiness.check().is_ok() }).await;
        shutdown.cancel();
        second.await.unwrap().unwrap();
    }
);

on_both!(
    async fn unacknowledged_events_are_read_again(store: &TestService) {
        for name in ["ada", "bob", "eve"] {
            store.register(name).await;
        }
        let outbox = Outbox::new(store.database.clone(), ShippedEvents::Delete);
        let all = outbox.read(None, 10).await.unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(outbox.read(None, 2).await.unwrap(), all[..2]);
        assert_eq!(outbox.read(Some(&all[1].0), 2).await.unwrap(), all[2..]);
        outbox.acknowledge(&[all[0].0, all[1].0]).await.unwrap();
        assert_eq!(outbox.read(None, 10).await.unwrap(), all[2..]);
    }
);

on_both!(
    async fn undecodable_event_is_dead_lettered(store: &TestService) {
        for name in ["ada", "bob", "eve"] {
            store.register(name).await;
        }
        let outbox = Outbox::new(store.database.clone(), ShippedEvents::Delete);
        let all = outbox.read(None, 10).await.unwrap();
        let rubbish = match store.backend() {
            sea_orm::DbBackend::Sqlite => "X'ff'",
            _ => "'\\xff'::bytea",
        };
        store
            .sql(&format!("UPDATE outbox SET payload = {rubbish} WHERE seq < {}", all[2].0.seq()))
            .await;
        assert_eq!(outbox.read(None, 1).await.unwrap(), all[2..]);
        assert_eq!(outbox.read(None, 2).await.unwrap(), all[2..]);
        assert_eq!(store.count("outbox").await, 3, "dead letters stay");
        assert_eq!(
            store.count("outbox WHERE set_aside LIKE 'cannot be decoded: %'").await,
            2,
            "dead letters are not read again"
        );
    }
);

/// The logging service refuses an event without an id.
async fn insert_invalid_event(test_database: &TestDatabase) {
    let connection = connect(&test_database.url).await;
    let (id, payload) = match connection.get_database_backend() {
        sea_orm::DbBackend::Sqlite => ("randomblob(16)", "x''"),
        _ => ("gen_random_uuid()", "''::bytea"),
    };
    let insert = format!(
        "INSERT INTO outbox (id, payload, created_at)
         VALUES ({id}, {payload}, '2026-01-01T00:00:00Z')"
    );
    connection.execute_unprepared(&insert).await.unwrap();
    connection.close().await.unwrap();
}

async fn assert_refused_event_is_kept(test_database: TestDatabase, policy: ShippedEvents) {
    insert_invalid_event(&test_database).await;
    let (first, test_database) = shipped(test_database, policy).await;
    assert_eq!(event_names(&first).await, ["user_registered", "order_placed"]);
    assert_eq!(
        stored(&test_database, "WHERE set_aside LIKE '%id%' AND shipped_at IS NULL").await,
        1
    );
    let (second, test_database) = shipped(test_database, policy).await;
    assert_eq!(event_names(&second).await, ["user_registered", "order_placed"]);
    assert_eq!(stored(&test_database, "WHERE set_aside IS NOT NULL").await, 1);
}

#[tokio::test]
async fn refused_event_is_kept_on_sqlite() {
    assert_refused_event_is_kept(TestDatabase::sqlite().await, ShippedEvents::Delete).await;
}

#[tokio::test]
async fn refused_event_is_kept_on_postgres() {
    assert_refused_event_is_kept(TestDatabase::postgres().await, ShippedEvents::Delete).await;
}

#[tokio::test]
async fn refused_event_is_kept_with_retained_events() {
    let policy = ShippedEvents::ShipAgainAtStart { kept: 0 };
    assert_refused_event_is_kept(TestDatabase::sqlite().await, policy).await;
    assert_refused_event_is_kept(TestDatabase::postgres().await, policy).await;
}

on_both!(
    async fn dead_letter_survives_its_acknowledgement(store: &TestService) {
        for name in ["ada", "bob"] {
            store.register(name).await;
        }
        for policy in [ShippedEvents::ShipAgainAtStart { kept: 0 }, ShippedEvents::Delete] {
            let outbox = Outbox::new(store.database.clone(), policy);
            if let Some((position, event)) = outbox.read(None, 1).await.unwrap().first() {
                outbox.dead_letter(position, event, "it is \0 odd").await.unwrap();
                outbox.acknowledge(&[*position]).await.unwrap();
            }
        }
        assert_eq!(store.events().await, []);
        assert_eq!(
            store.count("outbox WHERE set_aside LIKE 'it is _ odd' AND shipped_at IS NULL").await,
            2
        );
    }
);

on_both!(
    async fn oldest_returns_the_time_of_the_event(store: &TestService) {
        let outbox = Outbox::new(store.database.clone(), ShippedEvents::Delete);
        assert_eq!(outbox.oldest().await.unwrap(), None);
        let before = std::time::SystemTime::now() - Duration::from_secs(5);
        store.register("ada").await;
        let first = outbox.oldest().await.unwrap().unwrap();
        assert!(first.time.is_some_and(|time| time > before), "{first:?}");
        store.register("bob").await;
        assert_eq!(outbox.oldest().await.unwrap().unwrap(), first);
        // An event that an earlier embedded broker received may be older than all unshipped ones.
        let again =
            Outbox::new(store.database.clone(), ShippedEvents::ShipAgainAtStart { kept: 1 });
        assert_eq!(again.oldest().await.unwrap().unwrap().time, None);
        let read = outbox.read(None, 1).await.unwrap();
        outbox.acknowledge(&[read[0].0]).await.unwrap();
        assert_ne!(outbox.oldest().await.unwrap().unwrap().id, first.id);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_events_degrade_readiness_but_orders_succeed() {
    let test_database = TestDatabase::sqlite().await;
    let mut impatient = config(&test_database);
    impatient.event_age_limit = Duration::from_millis(300);
    let store = TestService::start_with(test_database, impatient).await;
    let buyer = store.register("ada").await;
    let waiting = async {
        while store.readiness.degraded().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, waiting).await.expect("the service is degraded");
    let reasons = store.readiness.degraded();
    assert!(
        reasons[0].0 == "events"
            && reasons[0].1.starts_with("the oldest log event has waited for "),
        "{reasons:?}"
    );
    assert_eq!(store.readiness.check(), Ok(()));
    store.buy(&buyer, HOODIE, 1).await;
    store.stop().await;
}
