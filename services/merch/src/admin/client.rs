//! Calls of the operator's service: finds it, shows the credential, tries again what may be
//! repeated, and says in one sentence what went wrong.

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

use crate::{admin_key, run_file, settings::operator::Target};

/// How long one call may take, its repetitions on other replicas included. Shorter than the
/// patience, or a service that hangs would be asked once.
const DEADLINE: Duration = Duration::from_secs(4);
/// How long a service that does not answer is tried again: every call here is safe to repeat.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(300);

/// The operator's service.
pub(super) struct Client {
    replicas: Replicas,
    endpoint: String,
    authorization: MetadataValue<Ascii>,
    /// Of the whole command, so that its calls and events can be found together.
    request_id: String,
    trace: Trace,
}

impl Client {
    /// Nothing is connected before the first call.
    ///
    /// # Errors
    /// When it is not known where the service is, or with which credential.
    pub(super) fn connect(target: &Target) -> Result<Self, StartError> {
        let given = target.token.read()?;
        let (endpoint, token) = match (&target.db_endpoint, given) {
            (Some(endpoint), Some(token)) => (endpoint.clone(), token),
            (Some(_), None) => {
                return Err(StartError::new(
                    "there is no credential to show to the db service; expected MERCH_ADMIN_TOKEN_FILE (--admin-token-file) or MERCH_ADMIN_TOKEN, the one that `merch db` was started with",
                ));
            }
            (None, given) => {
                let folder = &target.data.data_dir;
                let token = match given {
                    Some(token) => token,
                    None => {
                        // First whether a store runs there: that is what a missing file means.
                        run_file::read(folder)?;
                        admin_key::read(&folder.join(crate::data_dir::ADMIN_KEY))?
                    }
                };
                (run_file::read(folder)?.db, token)
            }
        };
        let mut authorization: MetadataValue<Ascii> = format!("Bearer {}", token.reveal().trim_ascii())
            .parse()
            .map_err(|_| StartError::new("the credential in MERCH_ADMIN_TOKEN or its file has characters that no header can carry"))?;
        authorization.set_sensitive(true);
        // Asked for the health of the service that every db role has: one that offers none to the
        // operator is to say so itself.
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

    /// For the log event of a call.
    pub(super) fn context(&self) -> RequestContext {
        RequestContext { request_id: self.request_id.clone(), trace_id: self.trace.id().to_owned() }
    }

    /// Makes a call, again and again for some seconds while the service is away.
    ///
    /// # Errors
    /// One sentence on why it was not done.
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
        let end = Instant::now() + PATIENCE;
        loop {
            let status = match self.replicas.call(Idempotency::Idempotent, DEADLINE, &attempt).await
            {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(CallError::Failed(status)) => status,
                Err(error @ (CallError::DeadlineExceeded | CallError::NoReplica)) => {
                    Status::unavailable(error.to_string())
                }
            };
            if !again(&status) || Instant::now() >= end {
                return Err(StartError::new(self.sentence(&status)));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn sentence(&self, status: &Status) -> String {
        let endpoint = &self.endpoint;
        match status.code() {
            Code::Unauthenticated => format!(
                "the db service at {endpoint} refuses the credential; expected the one that it was started with: MERCH_ADMIN_TOKEN, MERCH_ADMIN_TOKEN_FILE, or admin.key in its data folder"
            ),
            Code::Unimplemented => format!(
                "the db service at {endpoint} offers no service to the operator; start it with MERCH_ADMIN_TOKEN_FILE or MERCH_ADMIN_TOKEN"
            ),
            Code::Unavailable | Code::DeadlineExceeded => {
                format!(
                    "no answer from the db service at {endpoint}: {}; is it running, and is the address right?",
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
            // Only a restocking has a key.
            Code::FailedPrecondition => {
                "this key was used for another restocking; choose another one (--key)".to_owned()
            }
            Code::PermissionDenied => format!(
                "the db service at {endpoint} refuses this command: {}; expected the certificate of the role operator or db (MERCH_TLS_CERT_FILE)",
                status.message()
            ),
            code => format!(
                "the db service at {endpoint} failed: {} ({code:?}); its log has the reason",
                status.message()
            ),
        }
    }
}

/// Nothing was done, or what was done may be done again.
fn again(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
}
