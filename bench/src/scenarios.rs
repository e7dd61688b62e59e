//! The scenarios: which cases are measured side by side, and which ratios are the result.

mod orders;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::{
    baseline::{BareServer, Recorded},
    cpu::Sample,
    database::CHUNK,
    load::Latency,
    measure::{Bench, Case, Work},
    numbers::significant,
    progress::Progress,
    report::{Goal, Measurement, Scenario},
    rush::rush,
    store::Target,
};

/// The processes whose CPU time an order costs.
const STORE: [&str; 4] = ["api", "db", "logging", "postgres"];
const ROLES: [&str; 3] = ["api", "db", "logging"];
const ORDERS: Work = Work::Orders { target: Target::Roles, keyed: false };
const BARE: Work = Work::BareOrders { batch: 1 };
/// Products of a large catalogue.
const MANY_PRODUCTS: i32 = 10_000;
const EVENTS_PER_SECOND: f64 = 50_000.0;
/// Connections of the log-in storm: more than two processors can hash for, and as many as the
/// queue of two processors has room for.
const LOG_INS: usize = 16;
pub(crate) const BUYERS: usize = 10_000;
const PIECES: i32 = 500;

/// The name of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// No requests
    Idle,
    /// Orders of one product, beside bare PostgreSQL and the embedded store
    Orders,
    /// Orders of three products
    ThreeProducts,
    /// Orders of 10,000 products
    ManyProducts,
    /// Orders with idempotency keys, one in five repeated
    Keyed,
    /// Browse, log in, order, cancel
    Journey,
    /// The list and one product, of 3 and of 10,000, beside a bare poem server
    Catalogue,
    /// Orders while others log in
    LogInStorm,
    /// 50,000 log events per second to the logging service
    Events,
    /// 10,000 buyers want 500 pieces within one second
    Rush,
    /// Orders and lists before and after 10,000,000 orders; not part of `all`
    Growth,
    /// All of them but `growth`
    All,
}

impl Name {
    /// Returns the scenarios that these names stand for.
    pub(crate) fn expand(names: &[Self]) -> Vec<Self> {
        use clap::ValueEnum as _;
        let is_extra = |name| matches!(name, Self::All | Self::Growth);
        let all: Vec<Self> =
            Self::value_variants().iter().copied().filter(|name| !is_extra(*name)).collect();
        if names.contains(&Self::All) { all } else { names.to_vec() }
    }

    pub(crate) async fn run(self, bench: &mut Bench) -> Result<Scenario> {
        match self {
            Self::Orders => orders::orders(bench).await,
            Self::ThreeProducts => products(bench, "three-products", "3", 3).await,
            Self::ManyProducts => products(bench, "many-products", "10,000", MANY_PRODUCTS).await,
            Self::Keyed => keyed(bench).await,
            Self::Journey => journey(bench).await,
            Self::Catalogue => catalogue(bench).await,
            Self::LogInStorm => log_in_storm(bench).await,
            Self::Events => event_stream(bench).await,
            Self::Rush => rushes(bench).await,
            Self::Idle => idle(bench).await,
            Self::Growth => growth(bench).await,
            Self::All => unreachable!("expand replaces it"),
        }
    }
}

fn scenario(name: &str, about: &str) -> Scenario {
    Scenario { name: name.to_owned(), about: about.to_owned(), ..Scenario::default() }
}

fn values(scenario: &Scenario, case: &str, value: impl Fn(&Measurement) -> f64) -> Vec<f64> {
    scenario.values(case, value).into_iter().map(|(_, value)| value).collect()
}

fn median(values: &[f64]) -> f64 {
    crate::numbers::Spread::of(values).unwrap_or_default().median
}

async fn products(bench: &mut Bench, name: &str, count: &str, products: i32) -> Result<Scenario> {
    let about = format!("Orders of {count} products, each as likely as the others.");
    let mut scenario = scenario(name, &about);
    let many = bench.many();
    let cases = [
        Case::new("orders", many, ORDERS),
        Case::new("orders of all products", many, ORDERS).with_products(products),
        Case::new("bare, all products", many, BARE).with_products(products),
    ];
    bench.interleave(&mut scenario, &cases, bench.options.repeats).await?;
    let [one, all, bare] = cases.map(|case| case.key());
    scenario.add_ratio(&all, &bare, None);
    scenario.add_ratio(&all, &one, None);
    Ok(scenario)
}

async fn keyed(bench: &mut Bench) -> Result<Scenario> {
    let mut scenario = scenario(
        "keyed",
        "Orders with an Idempotency-Key; one in five repeats the last key and must return the \
         first order.",
    );
    let many = bench.many();
    let keyed = Work::Orders { target: Target::Roles, keyed: true };
    let cases = [Case::new("keyed orders", many, keyed), Case::new("orders", many, ORDERS)];
    bench.interleave(&mut scenario, &cases, bench.options.repeats).await?;
    let [keyed, plain] = cases.map(|case| case.key());
    scenario.add_ratio(&keyed, &plain, None);
    note_steps(&mut scenario);
    Ok(scenario)
}

async fn journey(bench: &mut Bench) -> Result<Scenario> {
    let mut scenario = scenario(
        "journey",
        "Each client reads the list, logs in, places an order and cancels it. Operations are \
         requests.",
    );
    let many = bench.many();
    let cases = [
        Case::new("journey", many, Work::Journey),
        Case::new("GET /", many, Work::Get { path: "/" }),
    ];
    bench.interleave(&mut scenario, &cases, bench.options.repeats).await?;
    let [journey, root] = cases.map(|case| case.key());
    scenario.add_ratio(&journey, &root, None);
    let cpu = values(&scenario, &journey, |it| it.cpu_of(&STORE));
    scenario.add("CPU of a request: roles and PostgreSQL", "µs", cpu, Goal::Less, None);
    note_steps(&mut scenario);
    Ok(scenario)
}

/// Adds the latencies of the steps, each of its last repeat.
fn note_steps(scenario: &mut Scenario) {
    let with_steps = scenario.measurements.iter().rfind(|it| !it.steps.is_empty());
    let Some(measurement) = with_steps else { return };
    let notes = measurement.steps.iter().map(|(step, latency)| {
        format!("{step}: p50 {} ms, p99 {} ms", significant(latency.p50), significant(latency.p99))
    });
    let notes: Vec<String> = notes.collect();
    scenario.notes.extend(notes);
}

async fn catalogue(bench: &mut Bench) -> Result<Scenario> {
    let mut scenario = scenario(
        "catalogue",
        "Reads of the list (a page of 20) and of one product. The bare server is a poem endpoint \
         in a process of its own, which repeats the bytes of the store.",
    );
    let many = bench.many();
    let (few_list, many_list) = ("/products", "/products-10000");
    bench.set_products(MANY_PRODUCTS).await?;
    let address = bench.store.api_address;
    let large = Recorded::of(address, few_list).await?.at(many_list);
    bench.set_products(3).await?;
    let recorded =
        [Recorded::of(address, "/").await?, Recorded::of(address, few_list).await?, large];
    bench.bare_server = Some(BareServer::start(&recorded).await?);
    let case = |name: &str, work, products| Case::new(name, many, work).with_products(products);
    let list = Work::Get { path: few_list };
    let cases = [
        case("GET /", Work::Get { path: "/" }, 3),
        case("bare GET /", Work::BareGet { path: "/" }, 3),
        case("list of 3", list, 3),
        case("bare list of 3", Work::BareGet { path: few_list }, 3),
        case("one of 3", Work::GetProduct, 3),
        case("list of 10,000", list, MANY_PRODUCTS),
        case("bare list of 10,000", Work::BareGet { path: many_list }, MANY_PRODUCTS),
        case("one of 10,000", Work::GetProduct, MANY_PRODUCTS),
    ];
    bench.interleave(&mut scenario, &cases, bench.options.repeats).await?;
    bench.bare_server = None;
    bench.set_products(3).await?;
    let key = |name: &str| format!("{name} @{many}");
    let target = (many == 64).then_some(0.7);
    for name in ["list of 3", "one of 3", "list of 10,000", "one of 10,000"] {
        scenario.add_ratio(&key(name), &key("GET /"), target);
    }
    for (store, bare) in [
        ("GET /", "bare GET /"),
        ("list of 3", "bare list of 3"),
        ("list of 10,000", "bare list of 10,000"),
    ] {
        scenario.add_ratio(&key(store), &key(bare), None);
    }
    Ok(scenario)
}

async fn log_in_storm(bench: &mut Bench) -> Result<Scenario> {
    let mut scenario = scenario(
        "log-in-storm",
        "Orders at a quarter of the peak rate, without and with 16 clients that log in. The \
         baseline of log-ins is bare scrypt of the same cost on all processors.",
    );
    let many = bench.many();
    let peak = Case::new("orders", many, ORDERS);
    bench.interleave(&mut scenario, std::slice::from_ref(&peak), 1).await?;
    let rate = (median(&values(&scenario, &peak.key(), |it| it.rate)) / 4.0).round();
    let storm = Work::OrdersDuringLogIns { log_ins: LOG_INS };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cases = [
        Case::new("orders", many, ORDERS).at_rate(rate),
        Case::new("orders during log-ins", many, storm).at_rate(rate),
        Case::new("log-ins", LOG_INS, Work::LogIns),
        Case::new("bare scrypt", cores, Work::Hashes),
    ];
    bench.interleave(&mut scenario, &cases, bench.options.repeats).await?;
    let [quiet, stormy, log_ins, hashes] = cases.map(|case| case.key());
    let p99 = |it: &Measurement| it.latency.p99;
    let ratios =
        crate::numbers::ratios(&scenario.values(&stormy, p99), &scenario.values(&quiet, p99));
    let name = "p99 of orders during log-ins ÷ without";
    scenario.add(name, "", ratios, Goal::Less, Some(1.5));
    scenario.add_ratio(&log_ins, &hashes, None);
    scenario.add_ratio(&format!("log-ins beside orders @{LOG_INS}"), &hashes, None);
    Ok(scenario)
}

async fn event_stream(bench: &mut Bench) -> Result<Scenario> {
    let mut scenario = scenario(
        "events",
        "Log events over two streams to the logging service. Latencies are those of a request of \
         500 events, until Kafka has stored them. The baseline is a bare producer.",
    );
    let cases = [
        Case::new("events", 2, Work::Events),
        Case::new("bare producer", 1, Work::BareEvents),
        Case::new("events", 2, Work::Events).at_rate(EVENTS_PER_SECOND),
    ];
    bench.interleave(&mut scenario, &cases, bench.options.repeats).await?;
    let [fast, bare, constant] = cases.map(|case| case.key());
    scenario.add_ratio(&fast, &bare, None);
    let rates = values(&scenario, &constant, |it| it.rate / EVENTS_PER_SECOND);
    scenario.add("part of 50,000 events/s that was stored", "", rates, Goal::More, None);
    let p99 = values(&scenario, &constant, |it| it.latency.p99);
    scenario.add("p99 of a request at 50,000 events/s", "ms", p99, Goal::Less, None);
    let cpu = values(&scenario, &constant, |it| it.cpu_of(&["logging"]));
    scenario.add("CPU of an event: logging", "µs", cpu, Goal::Less, None);
    Ok(scenario)
}

async fn rushes(bench: &mut Bench) -> Result<Scenario> {
    let mut scenario = scenario(
        "rush",
        "10,000 buyers, each with a connection, order one of 500 pieces at random times within \
         one second. All pieces must be sold, and all buyers must be answered.",
    );
    bench.set_products(3).await?;
    let mut progress = Progress::new(&scenario.name, bench.options.repeats);
    for repeat in 0..bench.options.repeats {
        progress.step(&format!("{BUYERS} buyers"));
        let store = &bench.store;
        store.database.reset().await?;
        store.database.set_stock(PIECES).await?;
        let groups = store.groups(Target::Roles)?;
        let (before, counters) = (Sample::of(&groups)?, store.database.counters().await?);
        let began = Instant::now();
        let (outcome, meter) = rush(store, BUYERS, Duration::from_secs(1), repeat as u64).await?;
        let answered = Instant::now();
        store.database.wait_until_shipped().await?;
        let sample = Sample::of(&groups)?;
        let each = BUYERS as f64 / 1e6;
        let sql = "SELECT CAST(stock AS bigint) AS value FROM products WHERE id = 1";
        let left = store.database.number(sql).await?;
        ensure!(
            left == 0 && i32::try_from(outcome.placed) == Ok(PIECES),
            "expected {PIECES} sold pieces and none left, got {} and {left}",
            outcome.placed
        );
        scenario.measurements.push(Measurement {
            case: "rush".to_owned(),
            connections: BUYERS,
            repeat,
            operations: BUYERS as u64,
            seconds: outcome.all_answered,
            drain_seconds: Some(answered.elapsed().as_secs_f64()),
            rate: BUYERS as f64 / outcome.all_answered,
            unexpected: meter.unexpected.clone(),
            latency: Latency::of(&meter.latency),
            cpu: sample.since(&before).into_iter().map(|(name, it)| (name, it / each)).collect(),
            other_cores: sample.others_since(&before) / began.elapsed().as_secs_f64(),
            memory: sample.memory,
            sent: meter.sent as f64 / BUYERS as f64,
            received: meter.received as f64 / BUYERS as f64,
            database: Some(store.database.counters().await?.since(counters).per(BUYERS as f64)),
            ..Measurement::default()
        });
        scenario.notes.push(format!(
            "Rush {}: {} orders placed, {} out of stock, {} others. The last buyer with a piece \
             ordered after {} s, the first without after {} s; {} buyers got a piece although \
             they ordered later.",
            repeat + 1,
            outcome.placed,
            outcome.out_of_stock,
            outcome.other,
            significant(outcome.last_winner_sent),
            significant(outcome.first_loser_sent),
            outcome.overtakers
        ));
        scenario.rushes.push(outcome);
    }
    let rushes = scenario.rushes.clone();
    let all_answered = rushes.iter().map(|rush| rush.all_answered).collect();
    scenario.add("from the first order to the last response", "s", all_answered, Goal::Less, None);
    let answered =
        |rush: &crate::rush::Outcome| (rush.placed + rush.out_of_stock) as f64 / rush.buyers as f64;
    let answered = rushes.iter().map(answered).collect();
    scenario.add("part of the buyers with 201 or 409", "", answered, Goal::More, Some(1.0));
    let overtakers = rushes.iter().map(|rush| rush.overtakers as f64).collect();
    scenario.add("pieces that later buyers got", "", overtakers, Goal::Less, None);
    Ok(scenario)
}

async fn idle(bench: &mut Bench) -> Result<Scenario> {
    let mut scenario = scenario("idle", "No requests. One replica of each role.");
    // Longer than the intervals of the store's timers.
    let length = bench.options.length.max(Duration::from_secs(5));
    let mut progress = Progress::new(&scenario.name, bench.options.repeats);
    let (mut statements, mut cpu, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.options.repeats {
        progress.step("idle");
        let groups = bench.store.groups(Target::Roles)?;
        let counters = bench.store.database.counters().await?;
        let (before, began) = (Sample::of(&groups)?, Instant::now());
        tokio::time::sleep(length).await;
        let seconds = began.elapsed().as_secs_f64();
        let sample = Sample::of(&groups)?;
        let counted = bench.store.database.counters().await?.since(counters);
        statements.push(counted.statements / seconds);
        let used = sample.since(&before);
        cpu.push(ROLES.iter().filter_map(|name| used.get(*name)).sum::<f64>() * 1000.0 / seconds);
        memory.push(ROLES.iter().filter_map(|name| sample.memory.get(*name)).sum::<f64>());
    }
    let name = "statements per second of one db";
    scenario.add(name, "", statements, Goal::Less, Some(2.0));
    scenario.add("CPU of the roles per second", "ms", cpu, Goal::Less, None);
    scenario.add("memory of the roles", "MiB", memory, Goal::Less, None);
    Ok(scenario)
}

async fn growth(bench: &mut Bench) -> Result<Scenario> {
    let rows = bench.options.rows;
    let mut scenario = scenario(
        "growth",
        "Orders, and lists of a user's orders, on an empty database and on a full one with a \
         million users. The cases cannot alternate, so a change of the machine's speed matters.",
    );
    let (many, repeats) = (bench.many(), bench.options.repeats);
    bench.store.database.reset().await?;
    bench.keep_orders = true;
    let cases = |size: &str| {
        [
            Case::new(&format!("orders, {size}"), many, ORDERS),
            Case::new(&format!("own orders, {size}"), many, Work::MyOrders),
        ]
    };
    let (empty, full) = (cases("empty"), cases("full"));
    bench.interleave(&mut scenario, &empty, repeats).await?;
    {
        let mut progress = Progress::new(&scenario.name, usize::try_from(rows / CHUNK)?);
        let mut report = |orders| progress.step(&format!("{orders} of {rows} orders"));
        bench.store.database.grow(rows, &mut report).await?;
    }
    bench.interleave(&mut scenario, &full, repeats).await?;
    bench.keep_orders = false;
    for (full, empty) in full.iter().zip(&empty) {
        scenario.add_ratio(&full.key(), &empty.key(), Some(0.9));
    }
    let updates = |column: &str| {
        format!("SELECT {column} AS value FROM pg_stat_user_tables WHERE relname = 'products'")
    };
    let database = &bench.store.database;
    let hot = database.number(&updates("n_tup_hot_upd")).await? as f64;
    let all = database.number(&updates("n_tup_upd")).await? as f64;
    let part = vec![hot / all.max(1.0)];
    scenario.add("part of the updates of a stock that are HOT", "", part, Goal::More, None);
    Ok(scenario)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_stands_for_each_scenario_once() {
        let all = Name::expand(&[Name::Idle, Name::All]);
        assert_eq!(all.len(), 10);
        assert!(!all.contains(&Name::All));
        assert_eq!(Name::expand(&[Name::Idle]), [Name::Idle]);
    }

    #[test]
    fn steps_are_noted_with_their_latencies() {
        let mut scenario = scenario("journey", "");
        let latency = Latency { p50: 1.0, p99: 2.5, ..Latency::default() };
        let steps = [("browse".to_owned(), latency)].into();
        scenario.measurements.push(Measurement { steps, ..Measurement::default() });
        note_steps(&mut scenario);
        assert_eq!(scenario.notes, ["browse: p50 1.00 ms, p99 2.50 ms"]);
    }
}
