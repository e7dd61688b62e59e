use std::time::{Duration, Instant};

use merch_chassis::{
    StartError,
    grpc::{
        replicas::{CallError, Connection, Endpoints, Idempotency, Replicas},
        trace::{self, Trace},
    },
};
use merch_contract::grpc::{
    admin::v1::admin_service_client::AdminServiceClient,
    assistant::v1::{RequestContext, assistant_service_server::SERVICE_NAME},
};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::{admin_key, run_file, settings::operations::Target};

/// Time limit of one call, including its retries. Shorter than [`RETRY_FOR`], so that a hanging
/// call is repeated.
const CALL_DEADLINE: Duration = Duration::from_secs(4);
/// How long to retry while the service is unavailable. Every admin call is idempotent.
const RETRY_FOR: Duration = Duration::from_secs(10);
const RETRY_INTERVAL: Duration = Duration::from_millis(300);

pub(super) struct Client {
    replicas: Replicas,
    endpoint: String,
    authorization: MetadataValue<Ascii>,
    /// One id for all calls of a command.
    request_id: String,
    trace: Trace,
}

impl Client {
    /// Connects on the first call.
    pub(super) fn connect(target: &Target) -> Result<Self, StartError> {
        let given = target.token.read()?;
        let (endpoint, token) = match (&target.db_endpoint, given) {
            (Some(endpoint), Some(token)) => (endpoint.clone(), token),
            (Some(_), None) => {
                return Err(StartError::new(
                    "no credential for the db service; expected MERCH_ADMIN_TOKEN_FILE \
                     (--admin-token-file) or MERCH_ADMIN_TOKEN, as `merch db` has it",
                ));
            }
            (None, given) => {
                let dir = &target.data.data_dir;
                let token = match given {
                    Some(token) => token,
                    None => {
                        // Reports a store that is not running before a missing key file.
                        run_file::read(dir)?;
                        admin_key::read(&dir.join(crate::data_dir::ADMIN_KEY))?
                    }
                };
                (run_file::read(dir)?.db, token)
            }
        };
        let mut authorization: MetadataValue<Ascii> =
            format!("Bearer {}", token.reveal().trim_ascii()).parse().map_err(|_| {
                StartError::new(
                    "the credential in MERCH_ADMIN_TOKEN or its file contains characters that are \
                     invalid in a header",
                )
            })?;
        authorization.set_sensitive(true);
        // Every db role reports this service's health; one without it answers `Unimplemented`.
        let replicas = Replicas::discover(
            Endpoints::parse("db", &endpoint, &target.internal.transport()?)?,
            SERVICE_NAME,
        );
        Ok(Self {
            replicas,
            endpoint,
            authorization,
            request_id: format!("operator-{}", Uuid::now_v7()),
            trace: Trace::start(),
        })
    }

    pub(super) fn context(&self) -> RequestContext {
        RequestContext { request_id: self.request_id.clone(), trace_id: self.trace.id().to_owned() }
    }

    /// Retries while the service is unavailable, for up to [`RETRY_FOR`].
    pub(super) async fn call<Q: Clone, A>(
        &self,
        message: Q,
        call: impl AsyncFn(
            &mut AdminServiceClient<Connection>,
            Request<Q>,
        ) -> Result<Response<A>, Status>,
    ) -> Result<A, StartError> {
        let attempt = async |connection, left| {
            let mut request = Request::new(message.clone());
            request.set_timeout(left);
            request.metadata_mut().insert("authorization", self.authorization.clone());
            trace::attach(&mut request, &self.request_id, &self.trace);
            call(&mut AdminServiceClient::new(connection), request).await
        };
        let end = Instant::now() + RETRY_FOR;
        loop {
            let status =
                match self.replicas.call(Idempotency::Idempotent, CALL_DEADLINE, &attempt).await {
                    Ok(answer) => return Ok(answer.into_inner()),
                    Err(CallError::Failed(status)) => status,
                    Err(error @ (CallError::DeadlineExceeded | CallError::NoReplica)) => {
                        Status::unavailable(error.to_string())
                    }
                };
            if !is_retryable(&status) || Instant::now() >= end {
                return Err(StartError::new(self.error_message(&status)));
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    fn error_message(&self, status: &Status) -> String {
        let endpoint = &self.endpoint;
        match status.code() {
            Code::Unauthenticated => format!(
                "the db service at {endpoint} refused the credential; expected the one that it was \
                 started with: MERCH_ADMIN_TOKEN, MERCH_ADMIN_TOKEN_FILE, or admin.key in its data \
                 directory"
            ),
            Code::Unimplemented => format!(
                "the db service at {endpoint} serves no admin calls; start it with \
                 MERCH_ADMIN_TOKEN_FILE or MERCH_ADMIN_TOKEN"
            ),
            Code::Unavailable | Code::DeadlineExceeded => {
                format!(
                    "no response from the db service at {endpoint}: {}; check that it runs and \
                     that the address is correct",
                    status.message()
                )
            }
            Code::InvalidArgument => match status.get_details_bad_request() {
                Some(details) if !details.field_violations.is_empty() => {
                    let faults: Vec<_> = details
                        .field_violations
                        .iter()
                        .map(|violation| {
                            format!("{}: expected {}", violation.field, violation.description)
                        })
                        .collect();
                    faults.join("; ")
                }
                Some(_) | None => status.message().to_owned(),
            },
            Code::NotFound => status.message().to_owned(),
            // Only `restock` has a key.
            Code::FailedPrecondition => {
                "this idempotency key was used for another change; choose another one (--key)"
                    .to_owned()
            }
            Code::PermissionDenied => format!(
                "the db service at {endpoint} refused this command: {}; expected the certificate \
                 of the role operator or db (MERCH_TLS_CERT_FILE)",
                status.message()
            ),
            code => format!(
                "the db service at {endpoint} failed: {} ({code:?}); its log has the reason",
                status.message()
            ),
        }
    }
}

fn is_retryable(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
}
