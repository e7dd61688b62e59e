//! `merch`: every role in one process, with the same gRPC hops as between machines, over sockets in
//! the data folder.

use std::net::{Ipv4Addr, SocketAddr};

use merch_chassis::{
    StartError, admin, bind,
    grpc::{ListenAddress, Listener, Role, Transport, url_of_path},
};
use merch_logging::server::embedded::EmbeddedBroker;
use tokio::net::TcpListener;

use crate::{
    admin_key,
    attend::{Process, announce},
    config::{self, Broker, Endpoints, Keys},
    data_dir::{self, DataDir, Part},
    database_lock::{DatabaseLock, Use},
    roles::{announced, gone, grpc_url},
    run_file::{Addresses, RunFile, url},
    settings::Store,
    shell::shell_word,
    signing_key,
};

/// A port of the system's choosing, for this machine alone.
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Of the embedded broker's topic. Each takes up to 5 MiB of memory and then forgets its oldest
/// records, so more of them remember a longer rush.
const PARTITIONS: i32 = 8;

/// Opens the store and keeps it open until a signal.
///
/// # Errors
/// Why it could not open, or which role ended and why.
pub(crate) async fn run(settings: Store) -> Result<(), StartError> {
    // All that settings can be wrong in, before anything is made.
    settings.api.check(&settings.role)?;
    settings.database.check_in(&settings.data.data_dir)?;
    let outside = match &settings.kafka_brokers {
        Some(brokers) => Some(settings.kafka_security.connection(brokers)?),
        None => settings.kafka_security.none().map(|()| None)?,
    };
    settings.logging.topic.wanted()?;
    let transport = settings.role.internal.transport()?;
    let given = signing_key::from_settings(&settings.keys)?;
    let given_admin = settings.admin.read()?.as_ref().map(admin_key::strong_enough).transpose()?;
    let mut process = Process::new()?;
    let parts: &[Part] = if settings.database.is_default() {
        &[Part::Journal, Part::Database]
    } else {
        &[Part::Journal]
    };
    let data = DataDir::open(&settings.data.data_dir, parts)?;
    // The folder may be a link to one that has another name.
    settings.database.check_in(data.path())?;
    let signing = match given.signing {
        Some(key) => key,
        None => signing_key::kept_in(&data.key_file())?,
    };
    let keys = Keys { signing, verifying: given.verifying };
    let admin_token = match given_admin {
        Some(token) => token,
        None => admin_key::strong_enough(&admin_key::kept_in(&data.admin_key_file())?)?,
    };
    let (database, direct) =
        (settings.database.or_in(data.path())?, settings.database.direct_or_in(data.path())?);
    // Before the migration, which would change a file that another store works on.
    let _lock = DatabaseLock::take(&database, Use::Alone)?;
    let listeners = Listeners::bind(&settings, &data, &transport).await?;
    let (embedded, kafka, broker) = match outside {
        Some(kafka) => (None, kafka, Broker::Kafka),
        None => {
            let embedded =
                EmbeddedBroker::start(&settings.logging.topic.topic.kafka_topic, PARTITIONS)?;
            let kafka = embedded.bootstrap_servers().into();
            (Some(embedded), kafka, Broker::Embedded)
        }
    };
    let migrating = merch_db::migrate_patiently(&direct, settings.database.patience());
    // PostgreSQL may not be there yet: a process that receives a stop signal meanwhile stops.
    let Some(migrated) = process.unless_stopped(migrating).await else { return Ok(()) };
    for name in migrated? {
        tracing::info!(name, "migrated");
    }

    let addresses = listeners.addresses(&data, kafka.brokers.clone())?;
    let (db_besides, logging_besides) = (listeners.db_besides, listeners.logging_besides);
    let role = &settings.role;
    // The roles of this process reach each other by its own sockets, for which nothing has to be
    // proved.
    let endpoints = Endpoints {
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
    db.writes_per_user = settings.users.writes_per_user();
    settings.writing.apply_to_db(&mut db);
    let mut api = config::api(&settings.api, keys, endpoints, &data, broker, role)?;
    settings.writing.apply_to_api(&mut api);
    api.writes_per_user = settings.users.writes_per_user();

    let whole = process.readiness.clone();
    // Drained the other way round: the gateway first, and the admin port says "not ready" to the
    // very end.
    process.roles.start("admin", |shutdown| admin::serve(listeners.admin, whole, shutdown));
    // Events wait on disk where Kafka is away, and the store opens and sells.
    process.start_in_background("logging", |readiness, shutdown| {
        merch_logging::server::serve(listeners.logging, logging, readiness, shutdown)
    });
    process
        .start("db", |readiness, shutdown| merch_db::serve(listeners.db, db, readiness, shutdown));
    process.start("api", |readiness, shutdown| {
        merch_api::serve(listeners.api, api, readiness, shutdown)
    });

    let result = process
        .attend(&settings.role, || {
            let file = RunFile::write(data.path(), &addresses)?;
            let besides = [&db_besides, &logging_besides].map(Option::as_ref);
            announce(announcement(&addresses, besides, &data, broker));
            Ok(Some(file))
        })
        .await;
    // The last one: what the roles had to say while they ended is in it.
    drop(embedded);
    result
}

/// Every address is taken before anything else starts: a port in use is told at once.
struct Listeners {
    api: TcpListener,
    admin: TcpListener,
    db: Listener,
    logging: Listener,
    /// Where they listen besides.
    db_besides: Option<Besides>,
    logging_besides: Option<Besides>,
}

/// A further listener of a service.
struct Besides {
    url: String,
    /// The URL as the announcement has it.
    announced: String,
}

impl Listeners {
    async fn bind(
        settings: &Store,
        data: &DataDir,
        transport: &Transport,
    ) -> Result<Self, StartError> {
        let api = bind("the api (--listen)", settings.api.listen).await?;
        let admin = bind(
            "the admin server (--admin-listen)",
            settings.role.admin_listen.unwrap_or(ANY_PORT),
        )
        .await?;
        let (db, db_besides) = grpc(
            "the db service (--db-listen)",
            Role::Db,
            data,
            settings.db.db_listen.as_ref(),
            transport,
        )
        .await?;
        let listen = settings.logging.logging_listen.as_ref();
        let (logging, logging_besides) =
            grpc("the logging service (--logging-listen)", Role::Logging, data, listen, transport)
                .await?;
        Ok(Self { api, admin, db, logging, db_besides, logging_besides })
    }

    fn addresses(&self, data: &DataDir, kafka: String) -> Result<Addresses, StartError> {
        let url =
            |listener: &TcpListener| listener.local_addr().map(url).map_err(|error| gone(&error));
        let socket = |role: Role| url_of_path(&data_dir::socket(data.path(), role.name()));
        Ok(Addresses {
            api: url(&self.api)?,
            admin: url(&self.admin)?,
            db: socket(Role::Db),
            logging: socket(Role::Logging),
            kafka,
            db_listen: self.db_besides.as_ref().map(|besides| besides.url.clone()),
            logging_listen: self.logging_besides.as_ref().map(|besides| besides.url.clone()),
        })
    }
}

/// The socket of a gRPC service, for this process and the operator's commands; and, if it is asked
/// for, a further listener.
async fn grpc(
    what: &str,
    role: Role,
    data: &DataDir,
    besides: Option<&ListenAddress>,
    transport: &Transport,
) -> Result<(Listener, Option<Besides>), StartError> {
    let socket = ListenAddress::Unix(data_dir::socket(data.path(), role.name()));
    let listener = Listener::bind(&format!("the {role} service"), &socket, transport).await?;
    let Some(besides) = besides else { return Ok((listener, None)) };
    transport.check_role(role)?;
    let besides = Listener::bind(what, besides, transport).await?;
    let further = Besides { url: grpc_url(&besides), announced: announced(&besides) };
    Ok((listener.and(besides), Some(further)))
}

fn announcement(
    addresses: &Addresses,
    besides: [Option<&Besides>; 2],
    data: &DataDir,
    broker: Broker,
) -> String {
    let Addresses { api, admin, db, logging, kafka, .. } = addresses;
    let [db_besides, logging_besides] = besides.map(|besides| {
        besides.map(|besides| format!(" and {}", besides.announced)).unwrap_or_default()
    });
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
        \n  db          {db} (gRPC){db_besides}\
        \n  logging     {logging} (gRPC){logging_besides}\
        \n  kafka       {kafka}{open}\
        \n  data        {0}\
        \n\nThe events: merch logs --follow --data-dir {0}\nStop it with Ctrl-C.",
        shell_word(data.path())
    )
}
