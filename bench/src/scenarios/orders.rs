//! Orders of one product: throughput, latency by rate, round trips.

use std::time::Duration;

use anyhow::Result;

use super::{BARE, ORDERS, ROLES, STORE, median, scenario, values};
use crate::{
    baseline, load,
    measure::{Bench, Case, Work},
    progress::Progress,
    report::{Goal, Measurement, Scenario},
    round_trips,
    store::Target,
};

/// Parts of the peak rate in the open model.
const RATES: [f64; 4] = [0.1, 0.25, 0.75, 0.9];

pub(super) async fn orders(bench: &mut Bench) -> Result<Scenario> {
    let mut scenario = scenario(
        "orders",
        "Orders of one product. A run ends when all events are on the topic. The baseline is bare \
         PostgreSQL with one order a transaction, and with 64, through the driver of db; and \
         pgbench, if it is installed.",
    );
    let (many, connections) = (bench.many(), bench.options.connections.clone());
    let repeats = bench.options.repeats;
    let has_pgbench = baseline::has_pgbench().await;
    let mut cases = Vec::new();
    for connections in &connections {
        cases.push(Case::new("orders", *connections, ORDERS));
        if has_pgbench {
            cases.push(Case::new("pgbench", *connections, Work::Pgbench));
        }
        cases.push(Case::new("bare, 1 a transaction", *connections, BARE));
    }
    let embedded = Work::Orders { target: Target::Embedded, keyed: false };
    cases.push(Case::new("bare, 64 a transaction", 4, Work::BareOrders { batch: 64 }));
    cases.push(Case::new("embedded", many, embedded));
    bench.interleave(&mut scenario, &cases, repeats).await?;

    for connections in &connections {
        let target = match connections {
            1 => Some(0.6),
            64 => Some(8.0),
            _ => None,
        };
        let orders = format!("orders @{connections}");
        scenario.add_ratio(&orders, &format!("pgbench @{connections}"), target);
        // The target is that of pgbench.
        let target = target.filter(|_| !has_pgbench);
        scenario.add_ratio(&orders, &format!("bare, 1 a transaction @{connections}"), target);
    }
    let orders = format!("orders @{many}");
    let most = connections.iter().copied().max().unwrap_or(many);
    if most > many {
        let target = (most == 256 && many == 64).then_some(1.2);
        scenario.add_ratio(&format!("orders @{most}"), &orders, target);
    }
    scenario.add_ratio(&orders, "bare, 64 a transaction @4", None);
    scenario.add_ratio(&format!("embedded @{many}"), &orders, None);
    let cpu = values(&scenario, &orders, |it| it.cpu_of(&STORE));
    let name = format!("CPU of an order @{many}: roles and PostgreSQL");
    scenario.add(&name, "µs", cpu, Goal::Less, (many == 64).then_some(75.0));
    let memory =
        |it: &Measurement| -> f64 { ROLES.iter().filter_map(|name| it.memory.get(*name)).sum() };
    let memory = values(&scenario, &format!("orders @{most}"), memory);
    let target = (most == 256).then_some(80.0);
    scenario.add(&format!("memory of the roles @{most}"), "MiB", memory, Goal::Less, target);

    latency_by_rate(bench, &mut scenario, &orders).await?;
    count_round_trips(bench, &mut scenario, &[1, many]).await?;
    Ok(scenario)
}

/// Measures parts of the peak rate in the open model.
async fn latency_by_rate(bench: &mut Bench, scenario: &mut Scenario, peak: &str) -> Result<()> {
    let peak = median(&values(scenario, peak, |it| it.rate));
    let case = |part: f64| Case::new("orders", bench.many(), ORDERS).at_rate((peak * part).round());
    let (half, others) = (case(0.5), RATES.map(case));
    bench.interleave(scenario, &others, 1).await?;
    bench.interleave(scenario, std::slice::from_ref(&half), bench.options.repeats).await?;
    let p99 = values(scenario, &half.key(), |it| it.latency.p99);
    scenario.add("p99 of orders at half the peak rate", "ms", p99, Goal::Less, Some(10.0));
    Ok(())
}

/// Counts what db and PostgreSQL exchange, through a proxy. Nothing is timed.
async fn count_round_trips(
    bench: &mut Bench,
    scenario: &mut Scenario,
    connections: &[usize],
) -> Result<()> {
    let mut progress = Progress::new(&scenario.name, connections.len());
    let (proxy, counts) = round_trips::start(bench.store.postgres_address()).await?;
    bench.store.restart_db(Some(proxy)).await?;
    for connections in connections {
        let case = Case::new("orders", *connections, ORDERS);
        progress.step(&format!("round trips @{connections}"));
        bench.store.database.reset().await?;
        let clients = bench.order_clients(&case, Target::Roles, false).await?;
        let (clients, _) = load::closed(clients, Duration::from_millis(500)).await?;
        bench.store.database.wait_until_shipped().await?;
        let (trips, bytes) = counts.read();
        let (_, meter) = load::closed(clients, bench.options.length.div_f64(2.0)).await?;
        bench.store.database.wait_until_shipped().await?;
        let (trips_after, bytes_after) = counts.read();
        let each = |after: u64, before: u64| (after - before) as f64 / meter.operations as f64;
        for (name, unit, value) in [
            ("round trips of db to PostgreSQL for an order", "", each(trips_after, trips)),
            ("bytes between db and PostgreSQL for an order", "B", each(bytes_after, bytes)),
        ] {
            scenario.add(&format!("{name} @{connections}"), unit, vec![value], Goal::Less, None);
        }
    }
    bench.store.restart_db(None).await
}
