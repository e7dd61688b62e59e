use std::{
    net::TcpStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use merch_contract::grpc::assistant::v1::{ErrorReason, place_order_result::Outcome};
use merch_db::{Config, Database, Pool, Pooler};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};

use crate::{
    harness::*,
    outbox::{event_names, log_recorder},
    servers::{
        journey,
        program::{Directory, Program, free_port, wait_for},
    },
};

struct PgBouncer {
    port: u16,
    config: PathBuf,
    program: Option<Program>,
    dir: Directory,
}

impl PgBouncer {
    /// `connections` is the number of server connections per database.
    async fn start(connections: u32, settings: &'static str) -> Self {
        tokio::task::spawn_blocking(move || Self::start_blocking(connections, settings))
            .await
            .unwrap()
    }

    fn start_blocking(connections: u32, settings: &str) -> Self {
        let (user, server) = server();
        for _ in 0..5 {
            let (port, dir) = (free_port(), Directory::new());
            let config = dir.write(
                "pgbouncer.ini",
                &format!(
                    "[databases]\n* = {server} user={user}\n[pgbouncer]\nlisten_addr = \
                     127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                     auth_type = any\npool_mode = transaction\ndefault_pool_size = \
                     {connections}\nmax_client_conn = 500\n{settings}\n"
                ),
            );
            let mut bouncer = Self { port, config, program: None, dir };
            if bouncer.run() {
                return bouncer;
            }
            let log = std::fs::read_to_string(bouncer.dir.path().join("log")).unwrap();
            eprintln!("PgBouncer did not start on port {port}: {log}");
        }
        panic!("PgBouncer did not start; its output is above");
    }

    fn run(&mut self) -> bool {
        let mut command = self.dir.command(&program());
        command.arg(&self.config);
        let mut program = Program::start(command, &self.dir.path().join("log"));
        let port = self.port;
        let runs = wait_for(&mut program, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        self.program = Some(program);
        runs
    }

    async fn restart(mut self) -> Self {
        tokio::task::spawn_blocking(move || {
            drop(self.program.take());
            assert!(self.run(), "PgBouncer starts again");
            self
        })
        .await
        .unwrap()
    }

    fn url(&self, test_database: &TestDatabase) -> String {
        let (_, name) = test_database.url.rsplit_once('/').unwrap();
        format!("postgres://any_user@127.0.0.1:{}/{name}", self.port)
    }
}

/// Returns the user and the address of the shared server, in PgBouncer's format.
fn server() -> (String, String) {
    let url = std::env::var("MERCH_TEST_POSTGRES_URL").expect("MERCH_TEST_POSTGRES_URL is set");
    let (_, rest) = url.split_once("://").unwrap();
    let (credentials, rest) = rest.rsplit_once('@').expect("the URL names a user");
    let (address, _) = rest.split_once('/').unwrap();
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "5432"));
    let (user, password) = credentials
        .split_once(':')
        .map_or((credentials, String::new()), |(user, p)| (user, format!(" password={p}")));
    (user.to_owned(), format!("host={host} port={port}{password}"))
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("pgbouncer"));
    let named = std::env::var_os("PGBOUNCER").map(PathBuf::from);
    let mut all = named.into_iter().chain(found).chain([PathBuf::from("/usr/sbin/pgbouncer")]);
    all.find(|file| file.is_file()).expect(
        "pgbouncer was not found: tools/install brings it, or say in $PGBOUNCER where it is",
    )
}

fn pooled(config: &mut Config) {
    config.pool.pooler = Some(Pooler::Transaction);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_works_behind_pgbouncer() {
    let bouncer = PgBouncer::start(3, "").await;
    let test_database = TestDatabase::postgres().await;
    journey(TestDatabase::external(bouncer.url(&test_database)), pooled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn few_server_connections_never_oversell() {
    let bouncer = PgBouncer::start(2, "").await;
    let test_database = TestDatabase::postgres().await;
    let (recorder, logging) = log_recorder().await;
    let mut replicas = vec![];
    for _ in 0..3 {
        let test_database = TestDatabase::external(bouncer.url(&test_database));
        let mut settings = config(&test_database);
        settings.logging_endpoint.clone_from(&logging);
        settings.pool.connections = 8;
        settings.pool.acquire_timeout = Duration::from_secs(20);
        settings.grpc.deadline = TIMEOUT;
        pooled(&mut settings);
        replicas.push(TestService::start_with(test_database, settings).await);
    }
    let buyer = replicas[0].register("ada").await;
    replicas[0].sql("UPDATE products SET stock = 100 WHERE id = 1").await;
    let calls: Vec<_> = (0..300)
        .map(|n| {
            let mut client = replicas[n % 3].client();
            let order = buyer.order_with_key(HOODIE, 1, &format!("k{}", n / 2));
            tokio::spawn(async move {
                let request =
                    merch_contract::grpc::assistant::v1::PlaceOrdersRequest { orders: vec![order] };
                let answer = client.place_orders(call(request)).await.unwrap().into_inner();
                answer.results.into_iter().next().unwrap().outcome.unwrap()
            })
        })
        .collect();
    let mut placed = std::collections::HashMap::new();
    let mut sold_out = 0;
    for (n, call) in calls.into_iter().enumerate() {
        match call.await.unwrap() {
            Outcome::Order(order) => assert_eq!(
                *placed.entry(n / 2).or_insert(order.id.clone()),
                order.id,
                "one key, one order"
            ),
            Outcome::Refusal(refusal) => {
                assert_eq!(refusal.reason(), ErrorReason::OutOfStock);
                sold_out += 1;
            }
        }
    }
    assert_eq!((placed.len(), replicas[0].product(HOODIE).await.stock), (100, 0));
    assert_eq!((replicas[1].count("orders").await, sold_out), (100, 100));
    eventually("every event has arrived", || async {
        event_names(&recorder).await.iter().filter(|word| *word == "order_placed").count() >= 100
    })
    .await;
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pgbouncer_restart_fails_no_later_call() {
    let bouncer = PgBouncer::start(4, "").await;
    let test_database = TestDatabase::postgres().await;
    let there = TestDatabase::external(bouncer.url(&test_database));
    let mut settings = config(&there);
    pooled(&mut settings);
    let store = TestService::start_with(there, settings).await;
    let many: Vec<_> = (0..8)
        .map(|n| {
            let mut client = store.client();
            tokio::spawn(async move {
                client.create_user(call(new_user(&format!("early{n}")))).await.map(|_| ())
            })
        })
        .collect();
    for one in many {
        one.await.unwrap().unwrap();
    }
    let bouncer = bouncer.restart().await;
    for n in 0..4 {
        let buyer = store.register(&format!("late{n}")).await;
        store.buy(&buyer, HOODIE, 1).await;
        store.product(HOODIE).await;
    }
    store.stop().await;
    drop(bouncer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pgbouncer_requires_the_pooler_setting() {
    let test_database = TestDatabase::postgres().await;
    let bouncer = PgBouncer::start(1, "").await;
    let error = Database::open(&bouncer.url(&test_database), &Pool::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is a pooler (unsupported startup parameter")
            && error.ends_with("set MERCH_DATABASE_POOLER=transaction"),
        "{error}"
    );

    // If PgBouncer ignores the start-up parameters, two clients use one statement name on one
    // connection.
    let bouncer =
        PgBouncer::start(1, "ignore_startup_parameters = extra_float_digits,options").await;
    let ask = async |pool: &Pool| {
        let database = Database::open(&bouncer.url(&test_database), pool).await.unwrap();
        let question =
            Statement::from_sql_and_values(DbBackend::Postgres, "SELECT $1::int", [7.into()]);
        let answer = database.reader().query_one_raw(question).await;
        (database, answer)
    };
    let (first, answer) = ask(&Pool::default()).await;
    answer.unwrap();
    let (second, answer) = ask(&Pool::default()).await;
    let error = answer.unwrap_err().to_string();
    assert!(error.contains("prepared statement \"sqlx_s_1\" already exists"), "{error}");
    let pool = Pool { pooler: Some(Pooler::Transaction), ..Pool::default() };
    let (third, answer) = ask(&pool).await;
    answer.unwrap();
    for database in [first, second, third] {
        database.close().await;
    }

    let url = format!("{}?options=-cstatement_timeout%3D1", bouncer.url(&test_database));
    let error = Database::open(&url, &pool).await.unwrap_err().to_string();
    assert!(error.contains("a pooler does not keep"), "{error}");
}

async fn assert_time_limits_apply(url: &str, administrator: &str, pooler: Option<Pooler>) {
    let short = Duration::from_millis(300);
    let pool = Pool { statement_timeout: short, pooler, ..Pool::default() };
    let database = Database::open(url, &pool).await.unwrap();
    let slow = || Statement::from_string(DbBackend::Postgres, "SELECT pg_sleep(60)");
    let began = Instant::now();
    let error = database.reader().query_one_raw(slow()).await.unwrap_err().to_string();
    assert!(
        error.contains("statement timeout") && began.elapsed() < Duration::from_secs(30),
        "{error}"
    );
    let transaction = database.begin().await.unwrap();
    let error = transaction.query_all_raw(slow()).await.unwrap_err().to_string();
    assert!(error.contains("statement timeout"), "{error}");
    transaction.rollback().await.unwrap();
    database.close().await;

    let pool = Pool {
        lock_timeout: short,
        idle_timeout: Duration::from_secs(1),
        pooler,
        ..Pool::default()
    };
    let database = Database::open(url, &pool).await.unwrap();
    let administrator = connect(administrator).await;
    let held = sea_orm::TransactionTrait::begin(&administrator).await.unwrap();
    held.execute_unprepared("UPDATE products SET stock = 7 WHERE id = 1").await.unwrap();
    let error = database
        .writer()
        .execute_unprepared("UPDATE products SET stock = 8 WHERE id = 1")
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("lock timeout"), "{error}");
    held.rollback().await.unwrap();
    let idle = database.begin().await.unwrap();
    idle.execute_unprepared("UPDATE products SET stock = 9 WHERE id = 1").await.unwrap();
    let left = "SELECT 1 FROM pg_stat_activity
         WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    eventually("the server ends an idle transaction", || async {
        rows(&administrator, left).await.is_empty()
    })
    .await;
    assert!(idle.execute_unprepared("SELECT 1").await.is_err());
    drop(idle);
    let found = rows(database.reader(), "SELECT stock FROM products WHERE id = 1").await;
    assert_eq!(found[0].try_get_by::<i32, _>(0).unwrap(), 500, "no transaction is left");
    administrator.close().await.unwrap();
    database.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_limits_apply_behind_pgbouncer() {
    let bouncer = PgBouncer::start(2, "").await;
    let test_database = TestDatabase::postgres().await;
    assert_time_limits_apply(
        &bouncer.url(&test_database),
        &test_database.url,
        Some(Pooler::Transaction),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_limits_apply_without_pgbouncer() {
    let test_database = TestDatabase::postgres().await;
    assert_time_limits_apply(&test_database.url, &test_database.url, None).await;
}
