//! Measures one case: load, CPU time, memory, bytes and statements.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::{
    baseline::{self, BareOrders, BareServer},
    clients::{Get, GetProduct, Journey, LogIns, Orders},
    cpu::{Groups, Processes, Sample},
    database::{Counters, Database},
    events,
    load::{self, Client, Latency, Meter},
    progress::Progress,
    report::{Measurement, Scenario},
    store::{Store, Target},
};

/// Load before a measurement, at most.
const WARM_UP: Duration = Duration::from_millis(700);

/// Sizes of a run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) connections: Vec<usize>,
    /// Of a measurement.
    pub(crate) length: Duration,
    pub(crate) repeats: usize,
    pub(crate) hash_cost: u8,
    /// Orders that the scenario `growth` adds.
    pub(crate) rows: i64,
}

/// What clients do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Orders {
        target: Target,
        keyed: bool,
    },
    /// Bare PostgreSQL, with this number of orders in a transaction.
    BareOrders {
        batch: usize,
    },
    /// Orders while others log in over this number of connections.
    OrdersDuringLogIns {
        log_ins: usize,
    },
    LogIns,
    /// Bare PostgreSQL and pgbench, with one order in a transaction.
    Pgbench,
    /// Bare scrypt on all processors.
    Hashes,
    Journey,
    /// Each client lists its own orders.
    MyOrders,
    Get {
        path: &'static str,
    },
    /// The same from the bare server.
    BareGet {
        path: &'static str,
    },
    GetProduct,
    Events,
    /// The same records without the logging service.
    BareEvents,
}

/// What is measured, and repeated.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) connections: usize,
    /// The products that the store has.
    pub(crate) products: i32,
    pub(crate) work: Work,
    /// Operations per second in the open model.
    pub(crate) rate: Option<f64>,
}

impl Case {
    pub(crate) fn new(name: &str, connections: usize, work: Work) -> Self {
        Self { name: name.to_owned(), connections, products: 1, work, rate: None }
    }

    pub(crate) fn with_products(self, products: i32) -> Self {
        Self { products, ..self }
    }

    pub(crate) fn at_rate(self, rate: f64) -> Self {
        Self { rate: Some(rate), ..self }
    }

    /// Returns the key of its measurements.
    pub(crate) fn key(&self) -> String {
        self.measurement(0).key()
    }

    fn measurement(&self, repeat: usize) -> Measurement {
        Measurement {
            case: self.name.clone(),
            connections: self.connections,
            repeat,
            offered: self.rate,
            ..Measurement::default()
        }
    }
}

/// The store, and what the scenarios do with it.
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) options: Options,
    /// Repeats the responses of the catalogue.
    pub(crate) bare_server: Option<BareServer>,
    /// Whether orders stay between the measurements.
    pub(crate) keep_orders: bool,
    /// Products of the databases, at least three.
    products: i32,
}

/// Counters before a load.
struct Before {
    sample: Sample,
    counters: Counters,
    began: Instant,
}

/// What is watched during a load.
struct Watched<'a> {
    groups: Groups,
    /// Whose statements count.
    counted: Option<&'a Database>,
    /// Whose outbox must be empty at the end.
    shipped: Option<&'a Database>,
}

impl Watched<'_> {
    async fn before(&self) -> Result<Before> {
        self.wait_until_shipped().await?;
        let counters = match self.counted {
            Some(database) => database.counters().await?,
            None => Counters::default(),
        };
        Ok(Before { sample: Sample::of(&self.groups)?, counters, began: Instant::now() })
    }

    async fn wait_until_shipped(&self) -> Result<()> {
        match self.shipped {
            Some(database) => database.wait_until_shipped().await,
            None => Ok(()),
        }
    }

    /// Fills the measurement with what has happened since `before`.
    async fn after(
        &self,
        before: &Before,
        meter: &Meter,
        mut measurement: Measurement,
    ) -> Result<Measurement> {
        let responded = Instant::now();
        self.wait_until_shipped().await?;
        let drain = responded.elapsed().as_secs_f64();
        let sample = Sample::of(&self.groups)?;
        let elapsed = before.began.elapsed().as_secs_f64();
        if let Some(database) = self.counted {
            let each = database.counters().await?.since(before.counters);
            measurement.database = Some(each.per(meter.operations as f64));
        }
        let operations = meter.operations.max(1) as f64;
        measurement.operations = meter.operations;
        measurement.seconds = meter.seconds;
        measurement.drain_seconds = self.shipped.map(|_| drain);
        let drain = measurement.drain_seconds.unwrap_or(0.0);
        measurement.rate = meter.operations as f64 / (meter.seconds + drain);
        measurement.unexpected = meter.unexpected.clone();
        measurement.latency = Latency::of(&meter.latency);
        measurement.steps = meter
            .steps
            .iter()
            .map(|(step, latency)| ((*step).to_owned(), Latency::of(latency)))
            .collect();
        if !meter.start_delay.is_empty() {
            measurement.start_delay = Some(Latency::of(&meter.start_delay).p99);
        }
        let cpu = sample.since(&before.sample).into_iter();
        measurement.cpu = cpu.map(|(name, cpu)| (name, cpu * 1e6 / operations)).collect();
        measurement.other_cores = sample.others_since(&before.sample) / elapsed;
        measurement.memory = sample.memory;
        measurement.sent = meter.sent as f64 / operations;
        measurement.received = meter.received as f64 / operations;
        Ok(measurement)
    }
}

impl Bench {
    pub(crate) fn new(store: Store, options: Options) -> Self {
        Self { store, options, bare_server: None, keep_orders: false, products: 3 }
    }

    /// Returns the number of connections of scenarios that have one.
    pub(crate) fn many(&self) -> usize {
        let connections = &self.options.connections;
        if connections.contains(&64) { 64 } else { connections.iter().copied().max().unwrap_or(64) }
    }

    /// Measures all cases one after the other, and repeats this.
    pub(crate) async fn interleave(
        &mut self,
        scenario: &mut Scenario,
        cases: &[Case],
        repeats: usize,
    ) -> Result<()> {
        let mut progress = Progress::new(&scenario.name, cases.len() * repeats);
        for repeat in 0..repeats {
            for case in cases {
                progress.step(&case.key());
                let measured = self.measure(case, repeat).await;
                scenario.measurements.extend(measured.with_context(|| case.key())?);
            }
        }
        Ok(())
    }

    /// Makes products 1 to `count` the only ones of both databases.
    pub(crate) async fn set_products(&mut self, count: i32) -> Result<()> {
        // Three are always there.
        let count = count.max(3);
        if self.products != count {
            for database in [&self.store.database, &self.store.baseline] {
                database.set_products(count).await?;
                database.clean().await?;
            }
            self.products = count;
        }
        Ok(())
    }

    /// Measures a case. There are several measurements if it has several loads.
    async fn measure(&mut self, case: &Case, repeat: usize) -> Result<Vec<Measurement>> {
        self.set_products(case.products).await?;
        match case.work {
            Work::Orders { target, keyed } => self.orders(case, target, keyed, repeat).await,
            Work::BareOrders { batch } => {
                self.store.baseline.truncate_outbox().await?;
                self.store.baseline.reset().await?;
                let url = self.store.baseline_url();
                let mut clients = Vec::new();
                for (number, user) in self.store.users.iter().take(case.connections).enumerate() {
                    let products = case.products;
                    clients.push(BareOrders::open(&url, *user, batch, products, number).await?);
                }
                let watched = Watched {
                    groups: self.groups(&["postgres", "load"])?,
                    counted: Some(&self.store.baseline),
                    shipped: None,
                };
                self.drive(case, repeat, clients, watched).await
            }
            Work::OrdersDuringLogIns { log_ins } => {
                self.store.database.reset().await?;
                let orders = self.order_clients(case, Target::Roles, false).await?;
                let storm = self.log_in_clients(log_ins).await?;
                // Longer than the load of orders.
                let length = WARM_UP * 2 + self.options.length;
                let storm = tokio::spawn(load::closed(storm, length));
                // The outbox is seldom empty meanwhile.
                let watched = Watched { shipped: None, ..self.whole_store()? };
                let mut measured = self.drive(case, repeat, orders, watched).await?;
                let (_, meter) = storm.await??;
                measured.push(Measurement {
                    case: "log-ins beside orders".to_owned(),
                    connections: log_ins,
                    repeat,
                    operations: meter.operations,
                    seconds: meter.seconds,
                    rate: meter.operations as f64 / meter.seconds,
                    unexpected: meter.unexpected.clone(),
                    latency: Latency::of(&meter.latency),
                    ..Measurement::default()
                });
                Ok(measured)
            }
            Work::Pgbench => {
                self.store.baseline.truncate_outbox().await?;
                self.store.baseline.reset().await?;
                let watched = Watched {
                    groups: self.groups(&["postgres", "load"])?,
                    counted: Some(&self.store.baseline),
                    shipped: None,
                };
                let before = watched.before().await?;
                let (url, length) = (self.store.baseline_url(), self.options.length);
                let (rate, mean) = baseline::pgbench(&url, case.connections, length).await?;
                let seconds = length.as_secs().max(1) as f64;
                let operations = (rate * seconds).round() as u64;
                let meter = Meter { operations, seconds, ..Meter::default() };
                let measured = watched.after(&before, &meter, case.measurement(repeat)).await?;
                // It prints no percentiles.
                let latency = Latency { mean, ..Latency::default() };
                Ok(vec![Measurement { latency, rate, ..measured }])
            }
            Work::LogIns => {
                let clients = self.log_in_clients(case.connections).await?;
                self.drive(case, repeat, clients, self.whole_store()?).await
            }
            Work::Hashes => {
                let rate = baseline::hash_rate(self.options.hash_cost, self.options.length).await?;
                Ok(vec![Measurement { rate, ..case.measurement(repeat) }])
            }
            Work::Journey => {
                self.store.database.reset().await?;
                let mut clients = Vec::new();
                for number in 0..case.connections {
                    clients.push(Journey::open(self.store.api_address, number).await?);
                }
                self.drive(case, repeat, clients, self.whole_store()?).await
            }
            Work::MyOrders => {
                let (address, mut clients) = (self.store.api_address, Vec::new());
                for user in self.store.users.iter().take(case.connections) {
                    let token = self.store.tokens.of(*user);
                    let headers = format!("Authorization: Bearer {token}\r\n");
                    clients.push(Get::open(address, "/orders", &headers).await?);
                }
                let watched = Watched { shipped: None, ..self.whole_store()? };
                self.drive(case, repeat, clients, watched).await
            }
            Work::Get { path } => {
                let clients = get_clients(self.store.api_address, path, case.connections).await?;
                let watched = Watched { shipped: None, ..self.whole_store()? };
                self.drive(case, repeat, clients, watched).await
            }
            Work::BareGet { path } => {
                let server = self.bare_server.as_ref().context("the bare server")?;
                let clients = get_clients(server.address, path, case.connections).await?;
                let groups =
                    vec![("bare server", Processes::One(server.pid()?)), ("load", Processes::Own)];
                let watched = Watched { groups, counted: None, shipped: None };
                self.drive(case, repeat, clients, watched).await
            }
            Work::GetProduct => {
                let mut clients = Vec::new();
                for number in 0..case.connections {
                    let address = self.store.api_address;
                    clients.push(GetProduct::open(address, case.products, number).await?);
                }
                let watched = Watched { shipped: None, ..self.whole_store()? };
                self.drive(case, repeat, clients, watched).await
            }
            Work::Events => {
                let groups = self.groups(&["logging", "kafka", "load"])?;
                let watched = Watched { groups, counted: None, shipped: None };
                let before = watched.before().await?;
                let (streams, length) = (case.connections, self.options.length);
                let meter =
                    events::stream(self.store.logging_address, streams, case.rate, length).await?;
                Ok(vec![watched.after(&before, &meter, case.measurement(repeat)).await?])
            }
            Work::BareEvents => {
                let groups = self.groups(&["kafka", "load"])?;
                let watched = Watched { groups, counted: None, shipped: None };
                let before = watched.before().await?;
                let kafka = self.store.kafka();
                let meter = events::produce_in_background(kafka, self.options.length).await?;
                Ok(vec![watched.after(&before, &meter, case.measurement(repeat)).await?])
            }
        }
    }

    async fn orders(
        &mut self,
        case: &Case,
        target: Target,
        keyed: bool,
        repeat: usize,
    ) -> Result<Vec<Measurement>> {
        if target == Target::Roles {
            match self.keep_orders {
                true => self.store.database.restock().await?,
                false => self.store.database.reset().await?,
            }
            let clients = self.order_clients(case, target, keyed).await?;
            return self.drive(case, repeat, clients, self.whole_store()?).await;
        }
        self.store.start_embedded().await?;
        let database = self.store.embedded_database().await?;
        let clients = self.order_clients(case, target, keyed).await?;
        let groups = self.store.groups(Target::Embedded)?;
        let watched = Watched { groups, counted: None, shipped: Some(&database) };
        let measured = self.drive(case, repeat, clients, watched).await?;
        self.store.stop_embedded().await?;
        Ok(measured)
    }

    /// Returns clients that place orders, each with its own user.
    pub(crate) async fn order_clients(
        &self,
        case: &Case,
        target: Target,
        keyed: bool,
    ) -> Result<Vec<Orders>> {
        let (address, products) = (self.store.address(target), case.products);
        let mut clients = Vec::new();
        for (number, user) in self.store.users.iter().take(case.connections).enumerate() {
            let token = self.store.tokens.of(*user);
            clients.push(Orders::open(address, &token, products, keyed, number).await?);
        }
        Ok(clients)
    }

    async fn log_in_clients(&self, connections: usize) -> Result<Vec<LogIns>> {
        let each = self.store.users.len() / connections;
        let mut clients = Vec::new();
        for number in 0..connections {
            let users = number * each..(number + 1) * each;
            clients.push(LogIns::open(self.store.api_address, users).await?);
        }
        Ok(clients)
    }

    fn whole_store(&self) -> Result<Watched<'_>> {
        let database = Some(&self.store.database);
        let groups = self.store.groups(Target::Roles)?;
        Ok(Watched { groups, counted: database, shipped: database })
    }

    fn groups(&self, names: &[&str]) -> Result<Groups> {
        let mut groups = self.store.groups(Target::Roles)?;
        groups.retain(|(name, _)| names.contains(name));
        Ok(groups)
    }

    async fn drive<C: Client>(
        &self,
        case: &Case,
        repeat: usize,
        clients: Vec<C>,
        watched: Watched<'_>,
    ) -> Result<Vec<Measurement>> {
        let warm_up = WARM_UP.min(self.options.length);
        let (clients, _) = load::closed(clients, warm_up).await?;
        let before = watched.before().await?;
        let length = self.options.length;
        let (_clients, meter) = match case.rate {
            Some(rate) => load::open(clients, rate, length).await?,
            None => load::closed(clients, length).await?,
        };
        Ok(vec![watched.after(&before, &meter, case.measurement(repeat)).await?])
    }
}

async fn get_clients(
    address: std::net::SocketAddr,
    path: &str,
    connections: usize,
) -> Result<Vec<Get>> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(Get::open(address, path, "").await?);
    }
    Ok(clients)
}
