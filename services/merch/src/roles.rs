//! `merch api`, `merch db`, `merch logging`: one role per process.

use std::net::{Ipv4Addr, SocketAddr};

use merch_chassis::{
    Readiness, StartError, admin, bind,
    grpc::{ListenAddress, Listener, Role, Transport},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin_key,
    config::{self, Broker, Keys, ServiceEndpoints},
    data_dir::{DataDir, DirLock},
    database_lock::{DatabaseLock, LockMode},
    lifecycle::{Process, announce},
    run_file::{reachable, url},
    settings::{ApiRole, DbRole, LoggingRole, common},
    signing_key,
};

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

pub(crate) async fn api(settings: ApiRole) -> Result<(), StartError> {
    settings.api.check(&settings.role)?;
    let transport = transport(&settings.role, Role::Api)?;
    let process = Process::new()?;
    let configured = signing_key::from_settings(&settings.keys)?;
    let Some(signing) = configured.signing else {
        return Err(StartError::new(
            "`merch api` has no signing key; expected MERCH_JWT_KEY_FILE or MERCH_JWT_KEY, the \
             same for every replica; `openssl rand -hex 32` generates one",
        ));
    };
    let data = DataDir::open(&settings.data.data_dir, &[DirLock::SharedJournal])?;
    let listener = bind("the api (--listen)", settings.api.listen).await?;
    let address = listener.local_addr().map_err(|error| local_addr_error(&error))?;
    let endpoints = ServiceEndpoints {
        db: &settings.db_endpoint,
        logging: &settings.logging_service.logging_endpoint,
        transport: &transport,
    };
    let mut config = config::api(
        &settings.api,
        Keys { signing, verifying: configured.verifying },
        endpoints,
        &data,
        Broker::Kafka,
        &settings.role,
    )?;
    config.journal_shared = true;
    settings.limits.apply_to_api(&mut config);
    run(process, "api", url(address), loopback(9101), &settings.role, |readiness, shutdown| {
        merch_api::serve(listener, config, readiness, shutdown)
    })
    .await
}

/// Does not migrate: with several replicas, the operator decides when to.
pub(crate) async fn db(settings: DbRole) -> Result<(), StartError> {
    settings.database.check_in(&settings.data.data_dir)?;
    let transport = transport(&settings.role, Role::Db)?;
    let admin_token = settings.admin.read()?.as_ref().map(admin_key::validate).transpose()?;
    let process = Process::new()?;
    let path = &settings.data.data_dir;
    let data = settings
        .database
        .is_default()
        .then(|| DataDir::open(path, &[DirLock::Database]))
        .transpose()?;
    let location = settings.database.or_in(data.as_ref().map_or(path, DataDir::path))?;
    // A missing file is an error of the service; `merch migrate` creates it.
    let _lock = match location.sqlite_file()? {
        Some(file) if file.exists() => Some(DatabaseLock::take_file(&file, LockMode::Exclusive)?),
        Some(_) | None => None,
    };
    let at = settings.db.db_listen.clone().unwrap_or(ListenAddress::Tcp(loopback(50051)));
    let listener = Listener::bind("the db service (--db-listen)", &at, &transport).await?;
    let logging = &settings.logging_service.logging_endpoint;
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
    settings.limits.apply_to_db(&mut config);
    run(
        process,
        "db",
        url_with_warning(&listener),
        loopback(9102),
        &settings.role,
        |readiness, shutdown| merch_db::serve(listener, config, readiness, shutdown),
    )
    .await
}

pub(crate) async fn logging(settings: LoggingRole) -> Result<(), StartError> {
    let transport = transport(&settings.role, Role::Logging)?;
    let kafka = settings.kafka.connection()?;
    let config = config::logging(&settings.logging, kafka, &settings.grpc, &settings.role)?;
    let process = Process::new()?;
    let at = settings.logging.logging_listen.clone().unwrap_or(ListenAddress::Tcp(loopback(50052)));
    let listener =
        Listener::bind("the logging service (--logging-listen)", &at, &transport).await?;
    run(
        process,
        "logging",
        url_with_warning(&listener),
        loopback(9103),
        &settings.role,
        |readiness, shutdown| merch_logging::server::serve(listener, config, readiness, shutdown),
    )
    .await
}

fn transport(settings: &common::ProcessSettings, role: Role) -> Result<Transport, StartError> {
    let transport = settings.internal.transport()?;
    transport.check_role(role)?;
    Ok(transport)
}

/// For clients on this machine.
pub(crate) fn grpc_url(listener: &Listener) -> String {
    listener.url(|address| reachable(address).to_string())
}

pub(crate) fn url_with_warning(listener: &Listener) -> String {
    let url = grpc_url(listener);
    listener.security_warning().map_or_else(|| url.clone(), |caution| format!("{url} ({caution})"))
}

pub(crate) fn local_addr_error(error: &std::io::Error) -> StartError {
    StartError::new(format!("the address of a bound listener is unavailable: {error}"))
}

async fn run<F>(
    mut process: Process,
    name: &'static str,
    address: String,
    admin_address: SocketAddr,
    role: &common::ProcessSettings,
    serve: impl FnOnce(Readiness, CancellationToken) -> F,
) -> Result<(), StartError>
where
    F: Future<Output = Result<(), StartError>> + Send + 'static,
{
    let admin =
        bind("the admin server (--admin-listen)", role.admin_listen.unwrap_or(admin_address))
            .await?;
    let admin_address = admin.local_addr().map_err(|error| local_addr_error(&error))?;
    tracing::debug!(role = name, address, admin = %admin_address, "listening");
    let readiness = process.readiness.clone();
    process.roles.start("admin", |shutdown| admin::serve(admin, readiness, shutdown));
    process.start(name, serve);
    process
        .run_until_shutdown(role, || {
            announce(format!(
                "merch {name} is ready.\n\n  {name:7}  {}\n  admin    {}\n\nStop it with Ctrl-C.",
                address,
                url(admin_address)
            ));
            Ok(None)
        })
        .await
}
