//! `merch` without a subcommand: every role in one process, connected by gRPC over Unix sockets.

use std::net::{Ipv4Addr, SocketAddr};

use merch_chassis::{
    StartError, admin, bind,
    grpc::{ListenAddress, Listener, Role, Transport, url_of_path},
};
use merch_logging::server::embedded::EmbeddedBroker;
use tokio::net::TcpListener;

use crate::{
    admin_key,
    config::{self, Broker, Keys, ServiceEndpoints},
    data_dir::{self, DataDir, DirLock},
    database_lock::{DatabaseLock, LockMode},
    lifecycle::{Process, announce},
    roles::{grpc_url, local_addr_error, url_with_warning},
    run_file::{Addresses, RunFile, url},
    settings::WholeStore,
    shell::shell_quote,
    signing_key,
};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Each partition keeps its newest 5 MiB in memory.
const EMBEDDED_PARTITIONS: i32 = 8;

pub(crate) async fn run(settings: WholeStore) -> Result<(), StartError> {
    // Check all settings before creating anything.
    settings.api.check(&settings.role)?;
    settings.database.check_in(&settings.data.data_dir)?;
    let outside = match &settings.kafka_brokers {
        Some(brokers) => Some(settings.kafka_security.connection(brokers)?),
        None => settings.kafka_security.check_unused().map(|()| None)?,
    };
    settings.logging.topic.to_topic()?;
    let transport = settings.role.internal.transport()?;
    let configured = signing_key::from_settings(&settings.keys)?;
    let configured_admin_token =
        settings.admin.read()?.as_ref().map(admin_key::validate).transpose()?;
    let mut process = Process::new()?;
    let locks: &[DirLock] = if settings.database.is_default() {
        &[DirLock::Journal, DirLock::Database]
    } else {
        &[DirLock::Journal]
    };
    let data = DataDir::open(&settings.data.data_dir, locks)?;
    // The data directory may be a link to a path with another name.
    settings.database.check_in(data.path())?;
    let signing = match configured.signing {
        Some(key) => key,
        None => signing_key::load_or_create(&data.key_file())?,
    };
    let keys = Keys { signing, verifying: configured.verifying };
    let admin_token = match configured_admin_token {
        Some(token) => token,
        None => admin_key::validate(&admin_key::load_or_create(&data.admin_key_file())?)?,
    };
    let (database, direct) =
        (settings.database.or_in(data.path())?, settings.database.direct_or_in(data.path())?);
    // Before the migration, which would change a file that another store uses.
    let _lock = DatabaseLock::take(&database, LockMode::Exclusive)?;
    let listeners = Listeners::bind(&settings, &data, &transport).await?;
    let (embedded, kafka, broker) = match outside {
        Some(kafka) => (None, kafka, Broker::Kafka),
        None => {
            let embedded = EmbeddedBroker::start(
                &settings.logging.topic.topic.kafka_topic,
                EMBEDDED_PARTITIONS,
            )?;
            let kafka = embedded.bootstrap_servers().into();
            (Some(embedded), kafka, Broker::Embedded)
        }
    };
    let migrating = merch_db::migrate_with_timeout(&direct, settings.database.patience());
    // PostgreSQL may still be starting; a stop signal ends the wait.
    let Some(migrated) = process.unless_shut_down(migrating).await else { return Ok(()) };
    for name in migrated? {
        tracing::info!(name, "migrated");
    }

    let addresses = listeners.addresses(&data, kafka.brokers.clone())?;
    let (extra_db, extra_logging) = (listeners.extra_db, listeners.extra_logging);
    let role = &settings.role;
    // The process's own sockets need no TLS.
    let endpoints = ServiceEndpoints {
        db: &addresses.db,
        logging: &addresses.logging,
        transport: &Transport::default(),
    };
    let logging = config::logging(&settings.logging, kafka, &settings.grpc, role)?;
    let mut db = config::db(
        &settings.db,
        database,
        endpoints.logging,
        endpoints.transport,
        broker,
        &settings.grpc,
        role,
    );
    settings.database.apply(&mut db.pool);
    db.admin_token = Some(admin_token);
    settings.limits.apply_to_db(&mut db);
    let mut api = config::api(&settings.api, keys, endpoints, &data, broker, role)?;
    settings.limits.apply_to_api(&mut api);

    let whole = process.readiness.clone();
    // Roles are drained in reverse order, so the admin port reports "not ready" to the end.
    process.roles.start("admin", |shutdown| admin::serve(listeners.admin, whole, shutdown));
    // The store works without Kafka: events wait on disk.
    process.start_in_background("logging", |readiness, shutdown| {
        merch_logging::server::serve(listeners.logging, logging, readiness, shutdown)
    });
    process
        .start("db", |readiness, shutdown| merch_db::serve(listeners.db, db, readiness, shutdown));
    process.start("api", |readiness, shutdown| {
        merch_api::serve(listeners.api, api, readiness, shutdown)
    });

    let result = process
        .run_until_shutdown(&settings.role, || {
            let file = RunFile::write(data.path(), &addresses)?;
            let extra = [&extra_db, &extra_logging].map(Option::as_ref);
            announce(announcement(&addresses, extra, &data, broker));
            Ok(Some(file))
        })
        .await;
    // Last: the roles ship events while they drain.
    drop(embedded);
    result
}

/// Bound before anything else starts, so that a port in use fails the start immediately.
struct Listeners {
    api: TcpListener,
    admin: TcpListener,
    db: Listener,
    logging: Listener,
    extra_db: Option<ExtraListener>,
    extra_logging: Option<ExtraListener>,
}

struct ExtraListener {
    url: String,
    /// The printed line, with a warning if the listener is not authenticated.
    announced: String,
}

impl Listeners {
    async fn bind(
        settings: &WholeStore,
        data: &DataDir,
        transport: &Transport,
    ) -> Result<Self, StartError> {
        let api = bind("the api (--listen)", settings.api.listen).await?;
        let admin = bind(
            "the admin server (--admin-listen)",
            settings.role.admin_listen.unwrap_or(ANY_PORT),
        )
        .await?;
        let (db, extra_db) = bind_grpc(
            "the db service (--db-listen)",
            Role::Db,
            data,
            settings.db.db_listen.as_ref(),
            transport,
        )
        .await?;
        let listen = settings.logging.logging_listen.as_ref();
        let (logging, extra_logging) = bind_grpc(
            "the logging service (--logging-listen)",
            Role::Logging,
            data,
            listen,
            transport,
        )
        .await?;
        Ok(Self { api, admin, db, logging, extra_db, extra_logging })
    }

    fn addresses(&self, data: &DataDir, kafka: String) -> Result<Addresses, StartError> {
        let url = |listener: &TcpListener| {
            listener.local_addr().map(url).map_err(|error| local_addr_error(&error))
        };
        let socket = |role: Role| url_of_path(&data_dir::socket(data.path(), role.name()));
        Ok(Addresses {
            api: url(&self.api)?,
            admin: url(&self.admin)?,
            db: socket(Role::Db),
            logging: socket(Role::Logging),
            kafka,
            db_listen: self.extra_db.as_ref().map(|extra| extra.url.clone()),
            logging_listen: self.extra_logging.as_ref().map(|extra| extra.url.clone()),
        })
    }
}

async fn bind_grpc(
    what: &str,
    role: Role,
    data: &DataDir,
    extra: Option<&ListenAddress>,
    transport: &Transport,
) -> Result<(Listener, Option<ExtraListener>), StartError> {
    let socket = ListenAddress::Unix(data_dir::socket(data.path(), role.name()));
    let listener = Listener::bind(&format!("the {role} service"), &socket, transport).await?;
    let Some(extra) = extra else { return Ok((listener, None)) };
    transport.check_role(role)?;
    let extra = Listener::bind(what, extra, transport).await?;
    let further = ExtraListener { url: grpc_url(&extra), announced: url_with_warning(&extra) };
    Ok((listener.and(extra), Some(further)))
}

fn announcement(
    addresses: &Addresses,
    extra: [Option<&ExtraListener>; 2],
    data: &DataDir,
    broker: Broker,
) -> String {
    let Addresses { api, admin, db, logging, kafka, .. } = addresses;
    let [extra_db, extra_logging] = extra
        .map(|extra| extra.map(|extra| format!(" and {}", extra.announced)).unwrap_or_default());
    let open = match broker {
        Broker::Embedded => {
            " (embedded; no authentication: every program on this machine can read and write it)"
        }
        Broker::Kafka => "",
    };
    format!(
        "The SUSTech Merch Store is open.\n\
        \n  Swagger UI  {api}/docs\
        \n  api         {api}\
        \n  admin       {admin}\
        \n  db          {db} (gRPC){extra_db}\
        \n  logging     {logging} (gRPC){extra_logging}\
        \n  kafka       {kafka}{open}\
        \n  data        {0}\
        \n\nThe events: merch logs --follow --data-dir {0}\nStop it with Ctrl-C.",
        shell_quote(data.path())
    )
}
