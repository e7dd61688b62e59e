use tokio_util::sync::CancellationToken;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::{HealthReporter, HealthService},
};

use crate::{Readiness, sync::watch};

/// Creates the health service. Reports `NOT_SERVING` once `shutdown` is cancelled, so that clients
/// move to other replicas before the drain ends.
pub(super) async fn service(
    services: &'static [&'static str],
    readiness: Readiness,
    shutdown: CancellationToken,
    stopped: CancellationToken,
) -> HealthServer<impl Health> {
    let reporter = HealthReporter::new();
    let changes = readiness.changes();
    report(&reporter, services, status(&readiness, &shutdown)).await;
    let of_changes = reporter.clone();
    tokio::spawn(async move {
        let report = |status| report(&of_changes, services, status);
        report_changes(changes, &readiness, &shutdown, &stopped, report).await;
    });
    HealthServer::new(HealthService::from_health_reporter(reporter))
}

/// Reports each change until `stopped` or `shutdown` is cancelled.
async fn report_changes<F: Future<Output = ()>>(
    mut changes: watch::Receiver<()>,
    readiness: &Readiness,
    shutdown: &CancellationToken,
    stopped: &CancellationToken,
    report: impl Fn(ServingStatus) -> F,
) {
    loop {
        tokio::select! {
            () = stopped.cancelled() => return,
            () = shutdown.cancelled() => return report(ServingStatus::NotServing).await,
            changed = changes.changed() => if changed.is_err() { return },
        }
        report(status(readiness, shutdown)).await;
    }
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

#[cfg(test)]
mod threads {
    use simulator::threads::{Fault, assert_found, block_on, check, spawn};

    use super::*;

    /// Two threads change parts of a role. The process waits for the role and reports its health.
    fn model(last: ServingStatus) -> impl Fn() + Send + Sync + 'static {
        move || {
            let process = Readiness::expecting("roles");
            let role = process.child("db");
            let (database, events) = (role.part("database"), role.part("events"));
            let (reported, mut reports) = tokio::sync::watch::channel(ServingStatus::Unknown);
            let (shutdown, stopped) = (CancellationToken::new(), CancellationToken::new());
            let reporting = spawn({
                let (process, changes) = (process.clone(), process.changes());
                let (shutdown, stopped) = (shutdown.clone(), stopped.clone());
                move || {
                    reported.send_replace(status(&process, &shutdown));
                    let report = |status| {
                        reported.send_replace(status);
                        std::future::ready(())
                    };
                    block_on(report_changes(changes, &process, &shutdown, &stopped, report));
                }
            });
            let waiting = spawn(move || block_on(process.ready()));
            let changing = spawn(move || {
                events.ready();
                events.not_ready("gone");
                events.ready();
            });
            database.ready();
            waiting.join().unwrap();
            if last == ServingStatus::NotServing {
                database.not_ready("gone");
            }
            changing.join().unwrap();
            block_on(reports.wait_for(|status| *status == last)).unwrap();
            stopped.cancel();
            reporting.join().unwrap();
        }
    }

    #[test]
    fn last_condition_is_reported() {
        for last in [ServingStatus::Serving, ServingStatus::NotServing] {
            check(model(last));
        }
    }

    #[test]
    fn missed_change_of_a_part_is_found() {
        assert_found(Some(Fault::LateSubscription), "deadlock", model(ServingStatus::NotServing));
    }
}
