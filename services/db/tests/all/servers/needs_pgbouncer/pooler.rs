//! PgBouncer in transaction mode before PostgreSQL: few connections of its own for many clients,
//! each for one transaction.

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
    outbox::{keeper, words},
    servers::{
        journey,
        program::{Folder, Program, free_port, wait_for},
    },
};

/// A PgBouncer before the server of all tests.
struct PgBouncer {
    port: u16,
    config: PathBuf,
    program: Option<Program>,
    folder: Folder,
}

impl PgBouncer {
    /// With so many connections to each database, and these settings besides.
    async fn start(connections: u32, settings: &'static str) -> Self {
        tokio::task::spawn_blocking(move || Self::start_blocking(connections, settings))
            .await
            .unwrap()
    }

    fn start_blocking(connections: u32, settings: &str) -> Self {
        let (user, server) = server();
        for _ in 0..5 {
            let (port, folder) = (free_port(), Folder::new());
            let config = folder.write(
                "pgbouncer.ini",
                &format!(
                    "[databases]\n* = {server} user={user}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                     auth_type = any\npool_mode = transaction\ndefault_pool_size = {connections}\nmax_client_conn = 500\n{settings}\n"
                ),
            );
            let mut bouncer = Self { port, config, program: None, folder };
            if bouncer.run() {
                return bouncer;
            }
            let log = std::fs::read_to_string(bouncer.folder.path().join("log")).unwrap();
            eprintln!("PgBouncer did not start on port {port}: {log}");
        }
        panic!("PgBouncer did not start; what it said stands above");
    }

    /// Starts it; `false` when it ended at once.
    fn run(&mut self) -> bool {
        let mut command = self.folder.command(&program());
        command.arg(&self.config);
        let mut program = Program::start(command, &self.folder.path().join("log"));
        let port = self.port;
        let runs = wait_for(&mut program, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        self.program = Some(program);
        runs
    }

    /// Ends it, with every client's connection, and starts it again.
    async fn restart(mut self) -> Self {
        tokio::task::spawn_blocking(move || {
            drop(self.program.take());
            assert!(self.run(), "PgBouncer starts again");
            self
        })
        .await
        .unwrap()
    }

    /// `place` by way of it.
    fn url(&self, place: &Place) -> String {
        let (_, name) = place.url.rsplit_once('/').unwrap();
        format!("postgres://whoever@127.0.0.1:{}/{name}", self.port)
    }
}

/// The user of the server of all tests, and how PgBouncer names the server.
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
    let found = std::env::split_paths(&path).map(|folder| folder.join("pgbouncer"));
    let named = std::env::var_os("PGBOUNCER").map(PathBuf::from);
    let mut all = named.into_iter().chain(found).chain([PathBuf::from("/usr/sbin/pgbouncer")]);
    all.find(|file| file.is_file()).expect(
        "pgbouncer was not found: tools/install brings it, or say in $PGBOUNCER where it is",
    )
}

/// A client of a transaction pooler.
fn pooled(config: &mut Config) {
    config.pool.pooler = Some(Pooler::Transaction);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_works_behind_it() {
    let bouncer = PgBouncer::start(3, "").await;
    let place = Place::postgres().await;
    journey(Place::elsewhere(bouncer.url(&place)), pooled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_clients_on_few_connections_never_oversell_and_honour_keys() {
    let bouncer = PgBouncer::start(2, "").await;
    let place = Place::postgres().await;
    let (keeper, logging) = keeper().await;
    let mut replicas = vec![];
    for _ in 0..3 {
        let place = Place::elsewhere(bouncer.url(&place));
        let mut settings = config(&place);
        settings.logging_endpoint.clone_from(&logging);
        settings.pool.connections = 8;
        settings.pool.acquire_timeout = Duration::from_secs(20);
        settings.grpc.deadline = PATIENCE;
        pooled(&mut settings);
        replicas.push(TestDb::start_with(place, settings).await);
    }
    let buyer = replicas[0].register("ada").await;
    replicas[0].sql("UPDATE products SET stock = 100 WHERE id = 1").await;
    // Each order at two of the replicas at once, with one key.
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
        words(&keeper).await.iter().filter(|word| *word == "order_placed").count() >= 100
    })
    .await;
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_is_started_again_refuses_no_call_after_that() {
    let bouncer = PgBouncer::start(4, "").await;
    let place = Place::postgres().await;
    let there = Place::elsewhere(bouncer.url(&place));
    let mut settings = config(&there);
    pooled(&mut settings);
    let store = TestDb::start_with(there, settings).await;
    // So that there are several connections to find dead.
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
async fn without_the_setting_it_does_not_work() {
    let place = Place::postgres().await;
    let bouncer = PgBouncer::start(1, "").await;
    let error =
        Database::open(&bouncer.url(&place), &Pool::default()).await.unwrap_err().to_string();
    assert!(
        error.contains("is a pooler (unsupported startup parameter")
            && error.ends_with("set MERCH_DATABASE_POOLER=transaction"),
        "{error}"
    );

    // Where it is told to ignore what it cannot keep, two clients give one name to statements on
    // one connection.
    let bouncer =
        PgBouncer::start(1, "ignore_startup_parameters = extra_float_digits,options").await;
    let ask = async |pool: &Pool| {
        let database = Database::open(&bouncer.url(&place), pool).await.unwrap();
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

    let url = format!("{}?options=-cstatement_timeout%3D1", bouncer.url(&place));
    let error = Database::open(&url, &pool).await.unwrap_err().to_string();
    assert!(error.contains("a pooler keeps none"), "{error}");
}

/// Of a statement, of the wait for a lock, and of a transaction that stands idle.
async fn limits_bite(url: &str, administrator: &str, pooler: Option<Pooler>) {
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
    let left = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    eventually("the server ends a transaction that stands idle", || async {
        rows(&administrator, left).await.is_empty()
    })
    .await;
    assert!(idle.execute_unprepared("SELECT 1").await.is_err());
    drop(idle);
    let found = rows(database.reader(), "SELECT stock FROM products WHERE id = 1").await;
    assert_eq!(found[0].try_get_by::<i32, _>(0).unwrap(), 500, "nothing of any of them is left");
    administrator.close().await.unwrap();
    database.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_limits_bite_behind_it() {
    let bouncer = PgBouncer::start(2, "").await;
    let place = Place::postgres().await;
    limits_bite(&bouncer.url(&place), &place.url, Some(Pooler::Transaction)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_limits_bite_without_it() {
    let place = Place::postgres().await;
    limits_bite(&place.url, &place.url, None).await;
}
