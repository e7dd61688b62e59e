//! A long run without faults at a constant rate, to see whether anything grows.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use plotters::prelude::*;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{readers, store::Store};

const USERS: usize = 64;
const PEAK_TIME: Duration = Duration::from_secs(20);
const PRODUCTS: u64 = 3;
/// The most pieces that one restock can add.
const RESTOCK: u64 = 1_000_000;
/// The last quarter of a flat series is at most this much above its second quarter.
const GROWTH: f64 = 1.15;
/// How fast this machine is while other programs use it, too.
const MACHINE: &str = "time of a fixed computation";

/// What a soak run does.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long it lasts.
    pub length: Duration,
    /// Orders a second. `None`: half of the peak, which is measured first.
    pub rate: Option<f64>,
    /// Where samples and plots are written.
    pub directory: std::path::PathBuf,
    /// Prints a line of progress.
    pub say: fn(&str),
}

/// Values over time.
#[derive(Clone, Debug)]
struct Series {
    name: String,
    unit: &'static str,
    /// Whether it must not grow. The tables of orders and their indexes do.
    flat: bool,
    /// Minutes since the start, and the value.
    points: Vec<(f64, f64)>,
}

/// What the samples of a series show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Flat,
    Grows,
    /// It may grow with the orders.
    Free,
    /// A latency or open files, and the machine became slower.
    NotJudged,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Grows => "GROWS",
            Self::Free => "may grow",
            Self::NotJudged => "not judged, because the machine became slower",
        }
    }
}

impl Series {
    /// Returns the lower quartiles of the second, third and last quarter. Other programs on the
    /// machine only add to a latency, and connections only for a while to the open files.
    fn quarters(&self) -> Option<[f64; 3]> {
        let quarter = self.points.len() / 4;
        if quarter == 0 {
            return None;
        }
        let low = |points: &[(f64, f64)]| {
            let mut values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 4]
        };
        let later = &self.points[self.points.len() - 3 * quarter..];
        Some([0, 1, 2].map(|number| low(&later[number * quarter..(number + 1) * quarter])))
    }

    fn grows(&self) -> bool {
        let Some([second, third, last]) = self.quarters() else { return false };
        let growth = last - second;
        // A leak grows in each quarter. A value that changes once has another cause, such as requests
        // that wait for other programs, and their connections.
        let is_steady = third > second + growth / 4.0;
        growth > second * (GROWTH - 1.0) + 1.0 && is_steady
    }

    fn verdict(&self, machine_is_slower: bool) -> Verdict {
        match (self.flat, self.grows()) {
            (false, _) => Verdict::Free,
            (true, false) => Verdict::Flat,
            (true, true) if self.unit != "MiB" && machine_is_slower => Verdict::NotJudged,
            (true, true) => Verdict::Grows,
        }
    }
}

/// Latencies since the last sample, and counts since the start.
#[derive(Debug, Default)]
struct Meter {
    latencies: Mutex<Vec<f64>>,
    failed: AtomicU64,
    late: AtomicU64,
}

/// Runs the store, and returns a line for each series. The second value is whether all of them
/// are flat and no request failed.
pub async fn soak(store: &Arc<Store>, options: &Options) -> Result<(String, bool)> {
    fs::create_dir_all(&options.directory)?;
    let servers = store.servers();
    let http = reqwest::Client::builder().no_proxy().build()?;
    add_stock(store, "peak", RESTOCK * PRODUCTS).await?;
    let mut tokens = Vec::new();
    for number in 0..USERS {
        tokens.push(token(&http, servers[0], number).await?);
    }
    let (tokens, meter) = (Arc::new(tokens), Arc::new(Meter::default()));
    let rate = match options.rate {
        Some(rate) => rate,
        None => {
            let peak = peak(&http, &servers, &tokens).await?;
            (options.say)(&format!("peak: {peak:.0} orders/s with {USERS} clients"));
            peak / 2.0
        }
    };
    let seconds = options.length.as_secs_f64();
    (options.say)(&format!("{rate:.0} orders/s for {seconds:.0} s"));
    add_stock(store, "load", (rate * seconds) as u64 + PRODUCTS).await?;
    let load = tokio::spawn(load(
        http.clone(),
        servers,
        Arc::clone(&tokens),
        rate,
        options.length,
        Arc::clone(&meter),
    ));
    let mut series: Vec<Series> = Vec::new();
    let began = Instant::now();
    let interval = (options.length / 240).max(Duration::from_secs(1));
    while began.elapsed() < options.length {
        tokio::time::sleep(interval).await;
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        for (name, unit, flat, value) in sample(store, &meter).await? {
            match series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push((minutes, value)),
                None => series.push(Series { name, unit, flat, points: vec![(minutes, value)] }),
            }
        }
    }
    load.await??;
    let failed = meter.failed.load(Ordering::Relaxed);
    let mut text =
        format!("{failed} failed requests, {} started late\n", meter.late.load(Ordering::Relaxed));
    let mut all_flat = failed == 0;
    let machine_is_slower = series.iter().any(|it| it.name == MACHINE && it.grows());
    for series in &series {
        let Some([early, middle, late]) = series.quarters() else { continue };
        let verdict = series.verdict(machine_is_slower);
        all_flat &= verdict != Verdict::Grows;
        writeln!(
            text,
            "{}: {early:.1}, {middle:.1}, {late:.1} {}: {}",
            series.name,
            series.unit,
            verdict.as_str()
        )?;
    }
    write_samples(&options.directory.join("samples.csv"), &series)?;
    plot(&options.directory.join("soak.svg"), &series)?;
    Ok((text, all_flat))
}

/// Adds pieces for this number of orders of one piece, evenly to all products.
async fn add_stock(store: &Store, key: &str, orders: u64) -> Result<()> {
    for product in 1..=i64::try_from(PRODUCTS)? {
        let mut missing = orders.div_ceil(PRODUCTS);
        while missing > 0 {
            let pieces = missing.min(RESTOCK);
            let key = format!("{key}-{product}-{missing}");
            store.restock(product, i64::try_from(pieces)?, &key, 0).await?;
            missing -= pieces;
        }
    }
    Ok(())
}

async fn token(http: &reqwest::Client, server: SocketAddr, number: usize) -> Result<String> {
    let (name, password) = (format!("soak{number:04}"), "correct horse battery staple");
    let email = format!("{name}@mail.example.com");
    let body = json!({ "sid": name, "username": name, "email": email, "password": password });
    let response = http.post(format!("http://{server}/users")).json(&body).send().await?;
    ensure!(response.status() == 201, "a registration: {}", response.status());
    let body = json!({ "username": name, "password": password });
    let response = http.post(format!("http://{server}/login")).json(&body).send().await?;
    let body: Value = response.json().await?;
    body["access_token"].as_str().map(str::to_owned).context("a log-in without a token")
}

/// Places an order. Returns whether it was placed.
async fn order(http: &reqwest::Client, server: SocketAddr, token: &str, product: u64) -> bool {
    let body = json!({ "product_id": product % PRODUCTS + 1, "quantity": 1 });
    let request = http
        .post(format!("http://{server}/orders"))
        .bearer_auth(token)
        .header("Idempotency-Key", Uuid::new_v4().to_string())
        .timeout(Duration::from_secs(20))
        .json(&body);
    match request.send().await {
        Ok(response) => response.status() == 201 && response.bytes().await.is_ok(),
        Err(_) => false,
    }
}

/// Returns orders per second of clients that each wait for a response.
async fn peak(
    http: &reqwest::Client,
    servers: &[SocketAddr],
    tokens: &Arc<Vec<String>>,
) -> Result<f64> {
    let (began, mut clients) = (Instant::now(), JoinSet::new());
    for number in 0..USERS {
        let (http, tokens) = (http.clone(), Arc::clone(tokens));
        let server = servers[number % servers.len()];
        clients.spawn(async move {
            let mut placed = 0_u64;
            while began.elapsed() < PEAK_TIME {
                placed += u64::from(order(&http, server, &tokens[number], placed).await);
            }
            placed
        });
    }
    let placed: u64 = clients.join_all().await.into_iter().sum();
    Ok(placed as f64 / began.elapsed().as_secs_f64())
}

/// Starts orders at a constant rate, whether or not earlier ones have ended.
async fn load(
    http: reqwest::Client,
    servers: Vec<SocketAddr>,
    tokens: Arc<Vec<String>>,
    rate: f64,
    length: Duration,
    meter: Arc<Meter>,
) -> Result<()> {
    let (began, mut requests) = (Instant::now(), JoinSet::new());
    for number in 0_u64.. {
        let due = began + Duration::from_secs_f64(number as f64 / rate);
        if due - began >= length {
            break;
        }
        if Instant::now() > due + Duration::from_millis(100) {
            meter.late.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep_until(due.into()).await;
        while requests.try_join_next().is_some() {}
        let (http, tokens, meter) = (http.clone(), Arc::clone(&tokens), Arc::clone(&meter));
        let index = usize::try_from(number)?;
        let server = servers[index % servers.len()];
        requests.spawn(async move {
            let placed = order(&http, server, &tokens[index % USERS], number).await;
            // From the time at which it was due: a stalled store delays later requests too.
            let latency = due.elapsed().as_secs_f64() * 1000.0;
            meter.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(latency);
            meter.failed.fetch_add(u64::from(!placed), Ordering::Relaxed);
        });
    }
    requests.join_all().await;
    Ok(())
}

type Sample = (String, &'static str, bool, f64);

async fn sample(store: &Store, meter: &Meter) -> Result<Vec<Sample>> {
    let mut samples = vec![(MACHINE.to_owned(), "ms", false, time_of_computation().await?)];
    for role in &store.roles {
        let role = role.lock().await;
        let pid = role.pid().with_context(|| format!("{} does not run", role.name))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let memory = memory.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        let memory = memory.context("RssAnon")? / 1024.0;
        samples.push((format!("memory of {}", role.name), "MiB", true, memory));
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64;
        samples.push((format!("open files of {}", role.name), "", true, files));
    }
    let database = readers::connect(&store.database_url().await).await?;
    let backlog = readers::outbox_backlog(&database).await? as f64;
    samples.push(("events that wait in the outbox".to_owned(), "", false, backlog));
    for (name, flat, bytes) in readers::sizes(&database).await? {
        samples.push((name, "MiB", flat, bytes / 1024.0 / 1024.0));
    }
    let servers = store.bootstrap_servers()?;
    let records = tokio::task::spawn_blocking(move || readers::topic_length(&servers)).await??;
    samples.push(("records on the topic".to_owned(), "", false, records));
    let mut latencies =
        std::mem::take(&mut *meter.latencies.lock().unwrap_or_else(PoisonError::into_inner));
    latencies.sort_by(f64::total_cmp);
    if !latencies.is_empty() {
        let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
        samples.push(("latency, median".to_owned(), "ms", true, at(0.5)));
        samples.push(("latency, 99 %".to_owned(), "ms", true, at(0.99)));
    }
    Ok(samples)
}

/// Returns milliseconds.
async fn time_of_computation() -> Result<f64> {
    let compute = || {
        let began = Instant::now();
        std::hint::black_box((0..3_000_000_u64).fold(0, |sum: u64, number| {
            std::hint::black_box(sum.wrapping_mul(31).wrapping_add(number))
        }));
        began.elapsed()
    };
    Ok(tokio::task::spawn_blocking(compute).await?.as_secs_f64() * 1000.0)
}

fn write_samples(file: &Path, series: &[Series]) -> Result<()> {
    let mut text = "series,unit,minutes,value\n".to_owned();
    for series in series {
        for (minutes, value) in &series.points {
            writeln!(text, "\"{}\",{},{minutes:.3},{value:.3}", series.name, series.unit)?;
        }
    }
    fs::write(file, text).with_context(|| file.display().to_string())
}

/// Draws all series, one below the other.
fn plot(file: &Path, series: &[Series]) -> Result<()> {
    const WIDTH: u32 = 900;
    const HEIGHT: u32 = 140;
    let height = HEIGHT * u32::try_from(series.len())?;
    let area = SVGBackend::new(file, (WIDTH, height)).into_drawing_area();
    let failed = |error: &dyn std::error::Error| anyhow::anyhow!("{}: {error}", file.display());
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    for (series, area) in series.iter().zip(area.split_evenly((series.len(), 1))) {
        let end = series.points.last().map_or(1.0, |(minutes, _)| *minutes);
        let top = series.points.iter().map(|(_, value)| *value).fold(1.0, f64::max) * 1.1;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("{} ({})", series.name, series.unit), ("sans-serif", 14))
            .margin(8)
            .x_label_area_size(16)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end, 0.0..top)
            .map_err(|error| failed(&error))?;
        chart.configure_mesh().y_labels(3).draw().map_err(|error| failed(&error))?;
        chart
            .draw_series(LineSeries::new(series.points.iter().copied(), &BLUE))
            .map_err(|error| failed(&error))?;
    }
    area.present().map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    fn series(unit: &'static str, values: impl IntoIterator<Item = f64>) -> Series {
        let points = values.into_iter().enumerate().map(|(i, value)| (i as f64, value)).collect();
        Series { name: "a series".to_owned(), unit, flat: true, points }
    }

    #[test]
    fn growing_series_are_not_flat() {
        for unit in ["MiB", "ms"] {
            assert!(!series(unit, (0..100).map(|i| f64::from(i % 7) + 50.0)).grows());
            assert!(series(unit, (0..100).map(|i| f64::from(i) + 50.0)).grows());
            // Only the start differs: caches fill.
            assert!(!series(unit, (0..100).map(|i| f64::from(i.min(20)) + 50.0)).grows());
        }
        let late = (0..100).map(|i| if i < 80 { 50.0 } else { 100.0 });
        assert!(!series("ms", late).grows(), "other programs were busy at the end");
    }

    /// In half of the samples, other programs make a value up to three times as large.
    #[test]
    fn leak_is_seen_in_noise_and_noise_is_no_leak() {
        for seed in 0..500 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut noisy = |leak: f64| -> Vec<f64> {
                let value = |sample| {
                    let jitter = random.random_range(0.97..1.03);
                    let noise =
                        if random.random_bool(0.5) { random.random_range(1.0..3.0) } else { 1.0 };
                    (50.0 + leak * f64::from(sample) / 240.0) * jitter * noise
                };
                (0..240).map(value).collect()
            };
            for unit in ["MiB", "ms"] {
                assert!(!series(unit, noisy(0.0)).grows(), "seed {seed}");
                assert!(series(unit, noisy(40.0)).grows(), "seed {seed}");
            }
        }
    }

    #[test]
    fn only_sizes_are_judged_on_a_slower_machine() {
        let growing = |unit| series(unit, (0..100).map(|i| f64::from(i) + 50.0));
        assert_eq!(growing("ms").verdict(true), Verdict::NotJudged);
        assert_eq!(growing("").verdict(true), Verdict::NotJudged);
        assert_eq!(growing("ms").verdict(false), Verdict::Grows);
        assert_eq!(growing("MiB").verdict(true), Verdict::Grows);
    }

    #[test]
    fn plots_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("soak.svg");
        plot(&file, &[series("MiB", [1.0, 2.0]), series("ms", [3.0])]).unwrap();
        assert!(fs::read_to_string(file).unwrap().contains("a series (MiB)"));
    }
}
