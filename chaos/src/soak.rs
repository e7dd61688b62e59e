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
/// Pieces of each product for the whole run: the most that one restock can add.
const STOCK: i64 = 1_000_000;
/// The last quarter of a flat series is at most this much above its second quarter.
const GROWTH: f64 = 1.15;

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

impl Series {
    /// Returns the medians of the second and of the last quarter.
    fn growth(&self) -> Option<(f64, f64)> {
        let quarter = self.points.len() / 4;
        if quarter == 0 {
            return None;
        }
        let median = |points: &[(f64, f64)]| {
            let mut values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let early = median(&self.points[quarter..2 * quarter]);
        Some((early, median(&self.points[self.points.len() - quarter..])))
    }

    fn is_flat(&self) -> bool {
        self.growth().is_none_or(|(early, late)| late <= early * GROWTH + 1.0)
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
    for product in 1..=3 {
        store.restock(product, STOCK, &format!("soak-{product}"), 0).await?;
    }
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
    (options.say)(&format!("{rate:.0} orders/s for {:.0} s", options.length.as_secs_f64()));
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
    for series in &series {
        let Some((early, late)) = series.growth() else { continue };
        let verdict = match (series.flat, series.is_flat()) {
            (true, true) => "flat",
            (true, false) => "GROWS",
            (false, _) => "grows with the orders",
        };
        all_flat &= !series.flat || series.is_flat();
        writeln!(text, "{}: {early:.1} -> {late:.1} {}: {verdict}", series.name, series.unit)?;
    }
    write_samples(&options.directory.join("samples.csv"), &series)?;
    plot(&options.directory.join("soak.svg"), &series)?;
    Ok((text, all_flat))
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
    let body = json!({ "product_id": product % 3 + 1, "quantity": 1 });
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
    let mut samples = Vec::new();
    for role in &store.roles {
        let role = role.lock().await;
        let pid = role.pid().with_context(|| format!("{} does not run", role.name))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = memory.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        let memory = memory.context("VmRSS")? / 1024.0;
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
    use super::*;

    fn series(values: impl IntoIterator<Item = f64>) -> Series {
        let points = values.into_iter().enumerate().map(|(i, value)| (i as f64, value)).collect();
        Series { name: "memory".to_owned(), unit: "MiB", flat: true, points }
    }

    #[test]
    fn growing_series_are_not_flat() {
        assert!(series((0..100).map(|i| f64::from(i % 7) + 50.0)).is_flat());
        assert!(!series((0..100).map(|i| f64::from(i) + 50.0)).is_flat());
        // Only the start differs: caches fill.
        assert!(series((0..100).map(|i| f64::from(i.min(20)) + 50.0)).is_flat());
    }

    #[test]
    fn plots_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("soak.svg");
        plot(&file, &[series([1.0, 2.0]), series([3.0])]).unwrap();
        assert!(fs::read_to_string(file).unwrap().contains("memory (MiB)"));
    }
}
