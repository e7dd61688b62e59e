//! One run: a store, its clients, its faults, and the verdict.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use crate::{
    books::{Books, Deployment, Failure, Part, Record, Snapshot, Tables},
    checker::{Report, check},
    clients::{Client, Recorder, SharedAccounts, read_stock, restock},
    history::{Call, History, Operation, Response},
    nemesis,
    plan::{Parts, plan},
    readers::{self, TopicLog},
    role::NotRecovered,
    store::{Machine, Store},
};

/// Clients that send requests at the same time.
const CLIENTS: usize = 10;
/// The longest pause of a client between two requests.
const PAUSE: Duration = Duration::from_millis(40);
/// After the last request, all events must be shipped within this time.
const SHIP_TIMEOUT: Duration = Duration::from_secs(60);
/// The product that the operator makes scarce, so that orders are refused from the start.
const SCARCE: i64 = 1;
/// Its pieces after that.
const SCARCE_PIECES: i64 = 20;

/// What a run does.
#[derive(Clone, Debug)]
pub struct Options {
    /// Determines the faults, and what the clients send.
    pub seed: u64,
    /// Its approximate length.
    pub length: Duration,
    /// The deployment.
    pub deployment: Deployment,
    /// The machine.
    pub machine: Machine,
    /// Prints a line of progress.
    pub say: fn(&str),
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether all promises were kept.
    pub is_kept: bool,
    /// The totals, and each violation with the operations that show it.
    pub text: String,
}

impl Verdict {
    fn of(report: &Report, history: &History) -> Self {
        Self { is_kept: report.is_kept(), text: report.explain(history) }
    }
}

/// Runs a store under faults and checks the promises. A part that does not recover breaks one; the
/// rest is checked nevertheless.
///
/// # Errors
/// If the store does not start, or the books cannot be written.
pub async fn run(options: Options) -> Result<Verdict> {
    let Options { seed, length, deployment, machine, say } = options;
    let directory = machine.directory.clone();
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let began = Instant::now();
    let store = Arc::new(Store::start(deployment, machine).await?);
    let parts = Parts::of(&store);
    say(&format!("the store is ready after {:.1} s: {parts}", began.elapsed().as_secs_f64()));
    let http = reqwest::Client::builder().no_proxy().build()?;
    let servers = store.servers();
    let seeded = read_stock(&http, servers[0]).await?;
    ensure!(!seeded.is_empty(), "the store has no products");

    let (recorder, stop) = (Arc::new(Recorder::default()), Arc::new(AtomicBool::new(false)));
    let (mut clients, shared) = (JoinSet::new(), SharedAccounts::default());
    make_scarce(&store, &recorder, &seeded).await?;
    for number in 0..CLIENTS {
        let (servers, shared) = (servers.clone(), shared.clone());
        let client = Client::new(number, seed, servers, shared, Arc::clone(&recorder))?;
        clients.spawn(client.run(PAUSE, Arc::clone(&stop)));
    }
    clients.spawn(restock(
        CLIENTS,
        seed,
        Arc::clone(&store),
        Arc::clone(&recorder),
        Arc::clone(&stop),
    ));
    let snapshots =
        tokio::spawn(take_snapshots(Arc::clone(&store), Arc::clone(&recorder), Arc::clone(&stop)));
    let log = Arc::new(Mutex::new(TopicLog::default()));
    if deployment == Deployment::Embedded {
        clients.spawn(follow_topic(Arc::clone(&store), Arc::clone(&stop), Arc::clone(&log)));
    }
    let supervisor = tokio::spawn(supervise(Arc::clone(&store), Arc::clone(&stop), say));

    let plan = plan(seed, length, &parts);
    let faults = nemesis::run(plan, seed, &store, &recorder, say).await;
    stop.store(true, Ordering::Relaxed);
    let mut failures: Vec<Failure> = faults.err().iter().map(failure).collect();
    for failure in &failures {
        say(&format!("{}; ending the run", failure.what));
    }
    while let Some(client) = clients.join_next().await {
        client.context("a client panicked")?;
    }
    let snapshots = snapshots.await?;
    failures.extend(supervisor.await?);
    if !failures.is_empty() {
        // So that the books can be read. A second failure says nothing new.
        let _ = store.heal().await;
    }
    let mut books = read_books(&store, &log).await;
    books.failures.splice(0..0, failures);
    books.deployment = Some(deployment);
    books.seeded = seeded;
    books.snapshots = snapshots;
    books.exits = store.exits().await;
    let history = recorder.with(std::mem::take);
    write(&directory, "history.json", &history)?;
    match store.keep_logs().await {
        Ok(panics) => books.panics = panics,
        Err(error) => books.failures.push(failure(&error.context("the logs are incomplete"))),
    }
    write(&directory, "books.json", &books)?;
    Ok(Verdict::of(&check(&history, &books), &history))
}

/// Returns the failure that an error is. Recovery of a role needs no operator (promise 7).
fn failure(error: &anyhow::Error) -> Failure {
    let promise = error.downcast_ref::<NotRecovered>().map(|_| 7);
    let text = format!("{error:#}");
    // The next lines are the ends of logs that the run's directory has.
    Failure { promise, what: text.lines().next().unwrap_or_default().to_owned() }
}

/// Takes most pieces of a product, before the clients begin.
async fn make_scarce(
    store: &Store,
    recorder: &Recorder,
    seeded: &BTreeMap<i64, i64>,
) -> Result<()> {
    let key = "scarce".to_owned();
    let pieces =
        SCARCE_PIECES - seeded.get(&SCARCE).context("there is no product to make scarce")?;
    let began = recorder.now();
    store.set_stock(SCARCE, SCARCE_PIECES, &key).await?;
    recorder.record(Operation {
        client: CLIENTS,
        server: None,
        began,
        ended: recorder.now(),
        call: Call::Restock { product: SCARCE, pieces, key },
        response: Some(Response { status: 200, ..Response::default() }),
        impatient: false,
    });
    Ok(())
}

/// Checks the books of an earlier run again.
pub fn check_again(directory: &Path) -> Result<Verdict> {
    let read = |name: &str| {
        let file = directory.join(name);
        fs::read(&file).with_context(|| format!("{}: expected the books of a run", file.display()))
    };
    let history: History = serde_json::from_slice(&read("history.json")?)?;
    let books: Books = serde_json::from_slice(&read("books.json")?)?;
    Ok(Verdict::of(&check(&history, &books), &history))
}

fn write(directory: &Path, name: &str, value: &impl serde::Serialize) -> Result<()> {
    let file = directory.join(name);
    let text = serde_json::to_vec(value)?;
    fs::write(&file, text).with_context(|| file.display().to_string())
}

/// Waits until all events are shipped, and reads the tables and the topic.
async fn read_books(store: &Store, log: &Mutex<TopicLog>) -> Books {
    let mut books = Books::default();
    let mut fail = |promise, what| books.failures.push(Failure { promise, what });
    if let Err(waiting) = wait_until_shipped(store).await {
        fail(
            Some(4),
            format!("{waiting} {SHIP_TIMEOUT:?} after the last fault; all events must be shipped"),
        );
    }
    match read_tables(store).await {
        Ok(tables) => books.tables = tables,
        Err(error) => {
            fail(None, format!("the tables could not be read: {error:#}"));
            books.unread.insert(Part::Tables);
        }
    }
    match read_topic(store, log).await {
        Ok(topic) => books.topic = topic,
        Err(error) => {
            fail(None, format!("the topic could not be read: {error:#}"));
            books.unread.insert(Part::Topic);
        }
    }
    books
}

/// Returns what was left if the outbox and the journals do not become empty in time.
async fn wait_until_shipped(store: &Store) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let waiting = async {
            let database = readers::connect(&store.database_url().await).await?;
            let waiting = readers::outbox_backlog(&database).await?;
            Ok::<_, anyhow::Error>((waiting, store.journal_backlog().await?))
        };
        let left = match waiting.await {
            Ok((0, 0.0)) => return Ok(()),
            Ok((outbox, journals)) => {
                format!("the outbox has {outbox} events and the journals have {journals}")
            }
            Err(error) => format!("the outbox or the journals could not be read ({error:#})"),
        };
        if began.elapsed() >= SHIP_TIMEOUT {
            return Err(left);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn read_tables(store: &Store) -> Result<Tables> {
    readers::tables(&readers::connect(&store.database_url().await).await?).await
}

async fn read_topic(store: &Store, log: &Mutex<TopicLog>) -> Result<Vec<Record>> {
    let servers = store.bootstrap_servers()?;
    let topic = read_whole_topic(&servers, Duration::from_secs(20)).await?;
    if store.deployment == Deployment::Roles {
        return Ok(topic);
    }
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.add(&servers, topic);
    Ok(std::mem::take(&mut *log).into_records())
}

async fn read_whole_topic(servers: &str, limit: Duration) -> Result<Vec<Record>> {
    let servers = servers.to_owned();
    tokio::task::spawn_blocking(move || readers::topic(&servers, limit)).await?
}

/// Reads the topic of a broker in memory every 3 s, because it keeps the newest events only.
async fn follow_topic(store: Arc<Store>, stop: Arc<AtomicBool>, log: Arc<Mutex<TopicLog>>) {
    while !stop.load(Ordering::Relaxed) {
        if let Ok(servers) = store.bootstrap_servers() {
            // The store may be down.
            if let Ok(topic) = read_whole_topic(&servers, Duration::from_secs(3)).await {
                log.lock().unwrap_or_else(PoisonError::into_inner).add(&servers, topic);
            }
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

/// Reads sums from the primary and the standby repeatedly.
async fn take_snapshots(
    store: Arc<Store>,
    recorder: Arc<Recorder>,
    stop: Arc<AtomicBool>,
) -> Vec<Snapshot> {
    let mut snapshots = Vec::new();
    let mut urls = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match &store.postgres {
            // A running fault holds the lock. During a fail-over, the names are swapped.
            Some(postgres) => {
                if let Ok(postgres) = postgres.try_lock() {
                    urls = postgres.snapshot_urls().into();
                }
            }
            None => urls = vec![store.database_url().await],
        }
        for (number, url) in urls.iter().enumerate() {
            let server = if number == 0 { "primary" } else { "standby" };
            let read = async {
                let database = readers::connect(url).await?;
                readers::snapshot(&database, server, || recorder.now()).await
            };
            // A server may be down.
            if let Ok(Ok(snapshot)) = tokio::time::timeout(Duration::from_secs(5), read).await {
                snapshots.push(snapshot);
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    snapshots
}

/// Restarts exited processes. Returns those that could not be started.
async fn supervise(store: Arc<Store>, stop: Arc<AtomicBool>, say: fn(&str)) -> Vec<Failure> {
    let mut failures = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match store.restart_exited().await {
            Ok(sentences) => sentences.iter().for_each(|sentence| say(sentence)),
            Err(error) => failures.push(failure(&error)),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    failures
}
