//! Events: there if and only if the change is, shipped until acknowledged.

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

/// A logging service that keeps what it gets.
#[derive(Clone, Default)]
pub(crate) struct Keeper(Arc<Mutex<Vec<LogMessage>>>);

#[tonic::async_trait]
impl LoggingService for Keeper {
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

pub(crate) async fn keeper() -> (Keeper, String) {
    let keeper = Keeper::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = LoggingServiceServer::new(keeper.clone());
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    (keeper, url)
}

async fn shipped(place: Place, policy: ShippedEvents) -> (Keeper, Place) {
    let (keeper, url) = keeper().await;
    let mut config = config(&place);
    config.logging_endpoint = url;
    config.shipped_events = policy;
    config.drain = Duration::from_secs(20);
    let store = TestDb::start_with(place, config).await;
    let buyer = store
        .register(&format!("u{}", uuid::Uuid::now_v7().simple().to_string().split_off(24)))
        .await;
    store.buy(&buyer, HOODIE, 1).await;
    // What is not shipped yet is, while the service stops.
    let place = store.stop().await;
    (keeper, place)
}

async fn stored(place: &Place, what: &str) -> i64 {
    let connection = connect(&place.url).await;
    let found = rows(&connection, &format!("SELECT count(*) FROM outbox {what}")).await;
    connection.close().await.unwrap();
    found[0].try_get_by(0).unwrap()
}

pub(crate) async fn words(keeper: &Keeper) -> Vec<String> {
    keeper.0.lock().await.iter().map(|event| event.event.clone()).collect()
}

async fn what_is_shipped_is_deleted(place: Place) {
    let (keeper, place) = shipped(place, ShippedEvents::Delete).await;
    assert_eq!(words(&keeper).await, ["user_registered", "order_placed"]);
    assert_eq!(stored(&place, "").await, 0);
}

#[tokio::test]
async fn what_is_shipped_is_deleted_from_sqlite() {
    what_is_shipped_is_deleted(Place::sqlite().await).await;
}

#[tokio::test]
async fn what_is_shipped_is_deleted_from_postgres() {
    what_is_shipped_is_deleted(Place::postgres().await).await;
}

#[tokio::test]
async fn the_newest_shipped_events_are_shipped_again_into_a_fresh_broker() {
    let policy = ShippedEvents::ShipAgainAtStart { kept: 3 };
    let (first, place) = shipped(Place::sqlite().await, policy).await;
    assert_eq!(words(&first).await, ["user_registered", "order_placed"]);
    assert_eq!(stored(&place, "WHERE shipped_at IS NOT NULL").await, 2);
    let (second, place) = shipped(place, policy).await;
    assert_eq!(
        words(&second).await,
        ["user_registered", "order_placed", "user_registered", "order_placed"]
    );
    assert_eq!(
        first.0.lock().await[..],
        second.0.lock().await[..2],
        "the same events, with their ids"
    );
    let (third, _) = shipped(place, policy).await;
    assert_eq!(
        words(&third).await,
        ["order_placed", "user_registered", "order_placed", "user_registered", "order_placed"]
    );
}

on_both!(
    async fn a_change_that_is_rolled_back_has_no_event(store: &TestDb) {
        store.register("ada").await;
        let ids: std::collections::HashSet<String> =
            store.events().await.into_iter().map(|event| event.id).collect();
        // The row is written, then its event cannot be: neither is there.
        let break_outbox = match store.backend() {
            sea_orm::DbBackend::Sqlite => {
                "CREATE TRIGGER broken BEFORE INSERT ON outbox BEGIN SELECT RAISE(FAIL, 'broken'); END"
            }
            _ => {
                "ALTER TABLE outbox ADD CONSTRAINT broken CHECK (created_at < '2000-01-01') NOT VALID"
            }
        };
        store.sql(break_outbox).await;
        let status = store.client().create_user(call(new_user("bob"))).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Internal);
        assert_eq!((store.count("users").await, store.events().await.len(), ids.len()), (1, 1, 1));
    }
);

on_both!(
    /// A second service finds an outbox that it cannot even count.
    async fn the_service_is_ready_whatever_becomes_of_the_count_of_what_waits(store: &TestDb) {
        store.sql("ALTER TABLE outbox RENAME TO elsewhere").await;
        let (listener, shutdown) = (
            tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(),
            tokio_util::sync::CancellationToken::new(),
        );
        let readiness = merch_chassis::Readiness::expecting("db");
        let second = tokio::spawn(merch_db::serve(
            listener,
            config(&store.place),
            readiness.clone(),
            shutdown.clone(),
        ));
        eventually("the service is ready", || async { readiness.check().is_ok() }).await;
        shutdown.cancel();
        second.await.unwrap().unwrap();
    }
);

on_both!(
    async fn what_is_not_acknowledged_is_read_again(store: &TestDb) {
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
    async fn an_event_that_cannot_be_read_holds_up_nothing(store: &TestDb) {
        for name in ["ada", "bob", "eve"] {
            store.register(name).await;
        }
        let outbox = Outbox::new(store.database.clone(), ShippedEvents::Delete);
        let all = outbox.read(None, 10).await.unwrap();
        let rubbish = match store.backend() {
            sea_orm::DbBackend::Sqlite => "X'ff'",
            _ => "'\\xff'::bytea",
        };
        store.sql(&format!("UPDATE outbox SET payload = {rubbish} WHERE seq < {}", all[2].0)).await;
        // A whole page of them, too.
        assert_eq!(outbox.read(None, 1).await.unwrap(), all[2..]);
        assert_eq!(outbox.read(None, 2).await.unwrap(), all[2..]);
        assert_eq!(store.count("outbox").await, 3, "they stay for somebody to look at");
        assert_eq!(
            store.count("outbox WHERE set_aside LIKE 'it cannot be read: %'").await,
            2,
            "and are not read again"
        );
    }
);

/// An event that the logging service would refuse, as it has not even an id.
async fn write_an_event_that_breaks_the_contract(place: &Place) {
    let connection = connect(&place.url).await;
    let (id, payload) = match connection.get_database_backend() {
        sea_orm::DbBackend::Sqlite => ("x'00'", "x''"),
        _ => ("gen_random_uuid()", "''::bytea"),
    };
    let insert = format!(
        "INSERT INTO outbox (id, payload, created_at) VALUES ({id}, {payload}, '2026-01-01T00:00:00Z')"
    );
    connection.execute_unprepared(&insert).await.unwrap();
    connection.close().await.unwrap();
}

async fn a_refused_event_is_kept_and_not_sent_again(place: Place, policy: ShippedEvents) {
    write_an_event_that_breaks_the_contract(&place).await;
    let (first, place) = shipped(place, policy).await;
    assert_eq!(words(&first).await, ["user_registered", "order_placed"]);
    // What it broke is told with it; and the housekeeping of the second start leaves it alone.
    assert_eq!(stored(&place, "WHERE set_aside LIKE '%id%' AND shipped_at IS NULL").await, 1);
    let (second, place) = shipped(place, policy).await;
    assert_eq!(words(&second).await, ["user_registered", "order_placed"]);
    assert_eq!(stored(&place, "WHERE set_aside IS NOT NULL").await, 1);
}

#[tokio::test]
async fn a_refused_event_is_kept_by_sqlite() {
    a_refused_event_is_kept_and_not_sent_again(Place::sqlite().await, ShippedEvents::Delete).await;
}

#[tokio::test]
async fn a_refused_event_is_kept_by_postgres() {
    a_refused_event_is_kept_and_not_sent_again(Place::postgres().await, ShippedEvents::Delete)
        .await;
}

#[tokio::test]
async fn a_refused_event_is_kept_also_where_shipped_ones_are_kept_for_a_while() {
    let policy = ShippedEvents::ShipAgainAtStart { kept: 0 };
    a_refused_event_is_kept_and_not_sent_again(Place::sqlite().await, policy).await;
    a_refused_event_is_kept_and_not_sent_again(Place::postgres().await, policy).await;
}

on_both!(
    /// As the shipper does when the logging service names an event that it will never take.
    async fn what_is_set_aside_outlives_its_acknowledgement(store: &TestDb) {
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
    async fn the_oldest_event_that_waits_is_told_with_its_time(store: &TestDb) {
        let outbox = Outbox::new(store.database.clone(), ShippedEvents::Delete);
        assert_eq!(outbox.oldest().await.unwrap(), None);
        let before = std::time::SystemTime::now() - Duration::from_secs(5);
        store.register("ada").await;
        let first = outbox.oldest().await.unwrap().unwrap();
        assert!(first.time.is_some_and(|time| time > before), "{first:?}");
        store.register("bob").await;
        assert_eq!(outbox.oldest().await.unwrap().unwrap(), first);
        // What was shipped to a broker that is gone may be older than anything that waits.
        let again =
            Outbox::new(store.database.clone(), ShippedEvents::ShipAgainAtStart { kept: 1 });
        assert_eq!(again.oldest().await.unwrap().unwrap().time, None);
        let read = outbox.read(None, 1).await.unwrap();
        outbox.acknowledge(&[read[0].0]).await.unwrap();
        assert_ne!(outbox.oldest().await.unwrap().unwrap().id, first.id);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_wait_too_long_make_the_service_degraded_and_it_sells_on() {
    let place = Place::sqlite().await;
    let mut impatient = config(&place);
    impatient.event_age_limit = Duration::from_millis(300);
    let store = TestDb::start_with(place, impatient).await;
    let buyer = store.register("ada").await;
    let waiting = async {
        while store.readiness.degraded().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the service is degraded");
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
