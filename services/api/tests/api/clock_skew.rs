//! The clock of the api service compared with the database's.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use merch_contract::grpc::assistant::v1 as proto;
use pbjson_types::Timestamp;
use time::OffsetDateTime;

use crate::support::{Api, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_is_not_ready_while_its_clock_differs() {
    let behind = Arc::new(AtomicI64::new(60));
    let api = Api::start().await;
    let seconds = behind.clone();
    api.db.get_clock.returns(move |proto::GetClockRequest {}| {
        let now = OffsetDateTime::now_utc().unix_timestamp() - seconds.load(Ordering::SeqCst);
        Ok(proto::GetClockResponse { now: Some(Timestamp { seconds: now, nanos: 0 }) })
    });
    let reason = || {
        let reasons = api.readiness.check().err()?;
        reasons.into_iter().find(|(part, _)| *part == "clock").map(|(_, reason)| reason)
    };
    let reports = |direction: &'static str| {
        reason().is_some_and(|reason| {
            reason.contains(direction) && reason.contains("expected at most 5 s")
        })
    };
    eventually("the clock is reported as ahead", || reports("ahead of the database's")).await;
    behind.store(-60, Ordering::SeqCst);
    eventually("the clock is reported as behind", || reports("behind the database's")).await;
    behind.store(0, Ordering::SeqCst);
    eventually("the service is ready", || api.readiness.check().is_ok()).await;
}
