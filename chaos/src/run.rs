//! One run: a store, its clients, its faults, and the verdict.

use std::{
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
    books::{Books, Snapshot},
    checker::{Report, check},
    clients::{Client, Recorder, SharedAccounts, read_stock, restock},
    history::History,
    nemesis,
    plan::{Parts, plan},
    readers::{self, TopicLog},
    store::{Deployment, Machine, Store},
};

/// Clients that send requests at the same time.
const CLIENTS: usize = 10;
/// The longest pause of a client between two requests.
const PAUSE: Duration = Duration::from_millis(40);
/// After the last request, all events must be shipped within this time.
const SHIP_TIMEOUT: Duration = Duration::from_secs(60);

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
        Self { is_kept: report.violations.is_empty(), text: report.explain(history) }
    }
}

/// Runs a store under faults and checks the promises.
///
/// # Errors
/// If the run itself fails: a part does not start, or does not recover.
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
    while let Some(client) = clients.join_next().await {
        client.context("a client panicked")?;
    }
    let snapshots = snapshots.await?;
    let exits = supervisor.await?;
    let books = match faults {
        Ok(()) => read_books(&store, &log).await,
        Err(error) => Err(error),
    };
    let panics = store.keep_logs().await?;
    let history = recorder.with(std::mem::take);
    write(&directory, "history.json", &history)?;
    let mut books = books?;
    books.seeded = seeded;
    books.snapshots = snapshots;
    write(&directory, "books.json", &books)?;
    let mut report = check(&history, &books);
    for what in panics.into_iter().chain(exits) {
        report.add(7, [], what);
    }
    Ok(Verdict::of(&report, &history))
}

/// Checks the books of an earlier run again, which have neither its panics nor its exits.
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
async fn read_books(store: &Store, log: &Mutex<TopicLog>) -> Result<Books> {
    let began = Instant::now();
    let database = readers::connect(&store.database_url().await).await?;
    loop {
        let waiting = readers::outbox_backlog(&database).await?;
        let journals = store.journal_backlog().await?;
        if waiting == 0 && journals == 0.0 {
            break;
        }
        ensure!(
            began.elapsed() < SHIP_TIMEOUT,
            "{waiting} events in the outbox and {journals} in journals were not shipped within \
             {SHIP_TIMEOUT:?} after the last fault"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let tables = readers::tables(&database).await?;
    let servers = store.bootstrap_servers()?;
    let topic = move || readers::topic(&servers, Duration::from_secs(20));
    let mut topic = tokio::task::spawn_blocking(topic).await??;
    if store.deployment == Deployment::Embedded {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.add(topic);
        topic = std::mem::take(&mut *log).into_records();
    }
    Ok(Books { tables, topic, ..Books::default() })
}

/// Reads the topic of a broker in memory every 3 s, because it keeps the newest events only.
async fn follow_topic(store: Arc<Store>, stop: Arc<AtomicBool>, log: Arc<Mutex<TopicLog>>) {
    while !stop.load(Ordering::Relaxed) {
        if let Ok(servers) = store.bootstrap_servers() {
            let topic = move || readers::topic(&servers, Duration::from_secs(3));
            // The store may be down.
            if let Ok(Ok(topic)) = tokio::task::spawn_blocking(topic).await {
                log.lock().unwrap_or_else(PoisonError::into_inner).add(topic);
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

/// Restarts exited processes. Returns a message for each exit with a code other than 1.
async fn supervise(store: Arc<Store>, stop: Arc<AtomicBool>, say: fn(&str)) -> Vec<String> {
    let mut crashes = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match store.restart_exited().await {
            Ok(sentences) => {
                for sentence in sentences {
                    say(&sentence);
                    // A role that cannot start exits with code 1.
                    if !sentence.ends_with("exit status: 1") {
                        crashes.push(sentence);
                    }
                }
            }
            Err(error) => crashes.push(format!("{error:#}")),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    crashes
}
