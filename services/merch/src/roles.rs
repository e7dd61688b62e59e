//! `merch api`, `merch db`, `merch logging`: one role in a process of its own.

use std::net::{Ipv4Addr, SocketAddr};

use merch_chassis::{
    Readiness, StartError, admin, bind,
    grpc::{ListenAddress, Listener, Role, Transport},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin_key,
    attend::{Process, announce},
    config::{self, Broker, Endpoints, Keys},
    data_dir::{DataDir, Part},
    database_lock::{DatabaseLock, Use},
    run_file::{reachable, url},
    settings::{ApiRole, DbRole, LoggingRole, common},
    signing_key,
};

/// A port of this machine alone, where the role is unless another is set.
const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// The REST gateway alone.
///
/// # Errors
/// Why it could not start, or ended.
pub(crate) async fn api(settings: ApiRole) -> Result<(), StartError> {
    settings.api.check(&settings.role)?;
    let transport = transport(&settings.role, Role::Api)?;
    let process = Process::new()?;
    let given = signing_key::from_settings(&settings.keys)?;
    let Some(signing) = given.signing else {
        return Err(StartError::new(
            "`merch api` has no key to sign tokens with; expected MERCH_JWT_KEY_FILE or MERCH_JWT_KEY, the same for every replica: `openssl rand -hex 32` makes one",
        ));
    };
    let data = DataDir::open(&settings.data.data_dir, &[Part::Journals])?;
    let listener = bind("the api (--listen)", settings.api.listen).await?;
    let address = listener.local_addr().map_err(|error| gone(&error))?;
    let endpoints = Endpoints {
        db: &settings.db_endpoint,
        logging: &settings.events.logging_endpoint,
        transport: &transport,
    };
    let mut config = config::api(
        &settings.api,
        Keys { signing, verifying: given.verifying },
        endpoints,
        &data,
        Broker::Kafka,
        &settings.role,
    )?;
    config.journal_shared = true;
    config.writes_per_user = settings.users.writes_per_user();
    settings.writing.apply_to_api(&mut config);
    run(process, "api", url(address), local(9101), &settings.role, |readiness, shutdown| {
        merch_api::serve(listener, config, readiness, shutdown)
    })
    .await
}

/// The db service alone. It migrates nothing: with several of them, who does and when is the
/// operator's to say.
///
/// # Errors
/// Why it could not start, or ended.
pub(crate) async fn db(settings: DbRole) -> Result<(), StartError> {
    settings.database.check_in(&settings.data.data_dir)?;
    let transport = transport(&settings.role, Role::Db)?;
    let admin_token = settings.admin.read()?.as_ref().map(admin_key::strong_enough).transpose()?;
    let process = Process::new()?;
    let path = &settings.data.data_dir;
    let data = settings
        .database
        .is_default()
        .then(|| DataDir::open(path, &[Part::Database]))
        .transpose()?;
    let location = settings.database.or_in(data.as_ref().map_or(path, DataDir::path))?;
    // A file that is not there is an error of the service: `merch migrate` makes it.
    let _lock = match location.sqlite_file()? {
        Some(file) if file.exists() => Some(DatabaseLock::take_file(&file, Use::Alone)?),
        Some(_) | None => None,
    };
    let at = settings.db.db_listen.clone().unwrap_or(ListenAddress::Tcp(local(50051)));
    let listener = Listener::bind("the db service (--db-listen)", &at, &transport).await?;
    let logging = &settings.events.logging_endpoint;
    let mut config = config::db(
        &settings.db,
        location,
        logging,
        &transport,
        Broker::Kafka,
        &settings.grpc,
        &settings.role,
    );
    settings.database.apply(&mut config.pool);
    config.admin_token = admin_token;
    config.writes_per_user = settings.users.writes_per_user();
    settings.writing.apply_to_db(&mut config);
    run(process, "db", announced(&listener), local(9102), &settings.role, |readiness, shutdown| {
        merch_db::serve(listener, config, readiness, shutdown)
    })
    .await
}

/// The logging service alone.
///
/// # Errors
/// Why it could not start, or ended.
pub(crate) async fn logging(settings: LoggingRole) -> Result<(), StartError> {
    let transport = transport(&settings.role, Role::Logging)?;
    let kafka = settings.kafka_security.connection(&settings.kafka_brokers)?;
    let config = config::logging(&settings.logging, kafka, &settings.grpc, &settings.role)?;
    let process = Process::new()?;
    let at = settings.logging.logging_listen.clone().unwrap_or(ListenAddress::Tcp(local(50052)));
    let listener =
        Listener::bind("the logging service (--logging-listen)", &at, &transport).await?;
    run(
        process,
        "logging",
        announced(&listener),
        local(9103),
        &settings.role,
        |readiness, shutdown| merch_logging::server::serve(listener, config, readiness, shutdown),
    )
    .await
}

/// How this process proves to be `role`.
fn transport(settings: &common::Role, role: Role) -> Result<Transport, StartError> {
    let transport = settings.internal.transport()?;
    transport.check_role(role)?;
    Ok(transport)
}

/// The URL at which a gRPC server is reached from this machine.
pub(crate) fn grpc_url(listener: &Listener) -> String {
    listener.url(|address| reachable(address).to_string())
}

/// The same for an announcement: with a caution where callers prove nothing.
pub(crate) fn announced(listener: &Listener) -> String {
    let url = grpc_url(listener);
    listener.security_warning().map_or_else(|| url.clone(), |caution| format!("{url} ({caution})"))
}

/// That the system does not say where a listener is.
pub(crate) fn gone(error: &std::io::Error) -> StartError {
    StartError::new(format!("an address that was just taken is gone: {error}"))
}

/// Runs `serve` and an admin server until a signal.
async fn run<F>(
    mut process: Process,
    name: &'static str,
    address: String,
    admin_address: SocketAddr,
    role: &common::Role,
    serve: impl FnOnce(Readiness, CancellationToken) -> F,
) -> Result<(), StartError>
where
    F: Future<Output = Result<(), StartError>> + Send + 'static,
{
    let admin =
        bind("the admin server (--admin-listen)", role.admin_listen.unwrap_or(admin_address))
            .await?;
    let admin_address = admin.local_addr().map_err(|error| gone(&error))?;
    tracing::debug!(role = name, address, admin = %admin_address, "listening");
    let readiness = process.readiness.clone();
    process.roles.start("admin", |shutdown| admin::serve(admin, readiness, shutdown));
    process.start(name, serve);
    process
        .attend(role, || {
            announce(format!(
                "merch {name} is ready.\n\n  {name:7}  {}\n  admin    {}\n\nStop it with Ctrl-C.",
                address,
                url(admin_address)
            ));
            Ok(None)
        })
        .await
}
