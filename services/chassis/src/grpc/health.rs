use tokio_util::sync::CancellationToken;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::{HealthReporter, HealthService},
};

use crate::Readiness;

/// Creates the health service. Reports `NOT_SERVING` once `shutdown` is cancelled, so that clients
/// move to other replicas before the drain ends.
pub(super) async fn service(
    services: &'static [&'static str],
    readiness: Readiness,
    shutdown: CancellationToken,
    stopped: CancellationToken,
) -> HealthServer<impl Health> {
    let reporter = HealthReporter::new();
    let mut changes = readiness.changes();
    report(&reporter, services, status(&readiness, &shutdown)).await;
    tokio::spawn({
        let reporter = reporter.clone();
        async move {
            loop {
                tokio::select! {
                    () = stopped.cancelled() => return,
                    () = shutdown.cancelled() => {
                    return report(&reporter, services, ServingStatus::NotServing).await;
                    }
                    changed = changes.changed() => if changed.is_err() { return },
                }
                report(&reporter, services, status(&readiness, &shutdown)).await;
            }
        }
    });
    HealthServer::new(HealthService::from_health_reporter(reporter))
}

fn status(readiness: &Readiness, shutdown: &CancellationToken) -> ServingStatus {
    if readiness.check().is_ok() && !shutdown.is_cancelled() {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

async fn report(reporter: &HealthReporter, services: &[&str], status: ServingStatus) {
    reporter.set_service_status("", status).await;
    for service in services {
        reporter.set_service_status(service, status).await;
    }
}
