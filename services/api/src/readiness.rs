//! Whether the db service is there, asked of its gRPC health: without it no operation of this service works.

use std::time::Duration;

use merch_chassis::Part;
use merch_contract::grpc::assistant::v1::assistant_service_server::SERVICE_NAME;
use tokio_util::sync::CancellationToken;
use tonic::{Request, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// Between two questions, while the answer is no: a start should not wait for long.
const WHILE_AWAY: Duration = Duration::from_millis(100);
/// Between two questions, while the answer is yes.
const WHILE_THERE: Duration = Duration::from_secs(2);
/// The time that an answer may take.
const DEADLINE: Duration = Duration::from_secs(1);

/// Keeps `part` up to date until `shutdown` is cancelled; then it is not ready any more, so that nobody sends new requests.
pub(crate) async fn follow_db(channel: Channel, endpoint: String, part: Part, shutdown: CancellationToken) {
    let mut health = HealthClient::new(channel);
    loop {
        let serving = tokio::select! {
            () = shutdown.cancelled() => break,
            serving = serving(&mut health) => serving,
        };
        let pause = if serving {
            part.ready();
            WHILE_THERE
        } else {
            part.not_ready(format!("the db service at {endpoint} does not answer that it is serving"));
            WHILE_AWAY
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    part.not_ready("shutting down");
}

async fn serving(health: &mut HealthClient<Channel>) -> bool {
    let mut request = Request::new(HealthCheckRequest { service: SERVICE_NAME.to_owned() });
    request.set_timeout(DEADLINE);
    let answer = tokio::time::timeout(DEADLINE, health.check(request)).await;
    matches!(answer, Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving)
}
