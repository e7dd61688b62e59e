use std::collections::HashMap;

use super::{
    collector::{Readiness, Replica, ReplicaState, Snapshot},
    metrics::Metrics,
};
use crate::table::{Cell, escape_control, table};

pub(super) fn frame(before: &Snapshot, now: &Snapshot, timestamp: &str) -> Vec<String> {
    let rates = Rates::between(before, now);
    let mut lines = vec![
        format!(
            "merch top  {timestamp}  {} of {} replicas are ready",
            ready(now),
            now.replicas.len()
        ),
        String::new(),
    ];
    let row = |what: &str, cells: [String; 3]| {
        vec![
            Cell::text(what),
            Cell::number(&cells[0]),
            Cell::number(&cells[1]),
            Cell::number(&cells[2]),
        ]
    };
    let shown = |value: f64| format!("{value:.1}");
    lines.extend(
        table(
            &["per second", "", "", ""],
            &[
                row(
                    "orders",
                    [
                        format!("placed {}", shown(rates.placed)),
                        format!("replayed {}", shown(rates.replayed)),
                        format!("refused {}", shown(rates.refused)),
                    ],
                ),
                row(
                    "failures",
                    [
                        format!("5xx {}", shown(rates.failed)),
                        format!("refused tokens {}", shown(rates.refused_tokens)),
                        format!("failed log-ins {}", shown(rates.failed_log_ins)),
                    ],
                ),
                row(
                    "traffic",
                    [
                        format!("requests {}", shown(rates.requests)),
                        format!("events to Kafka {}", shown(rates.delivered)),
                        format!("refused admin calls {}", shown(rates.refused_admin_calls)),
                    ],
                ),
            ],
        )
        .lines()
        .map(str::to_owned),
    );
    lines.push(String::new());
    lines.push(format!("lag  outbox {}, journal {}", events(outbox(now)), events(journal(now))));
    lines.push(String::new());
    match &now.products {
        Ok(products) => {
            let rows: Vec<_> = products
                .iter()
                .map(|product| {
                    vec![
                        Cell::number(product.id),
                        Cell::text(&product.name),
                        Cell::number(product.stock),
                    ]
                })
                .collect();
            lines.extend(table(&["id", "product", "stock"], &rows).lines().map(str::to_owned));
        }
        Err(why) => lines.push(format!("stock  unknown: {}", escape_control(why))),
    }
    lines.push(String::new());
    let rows: Vec<_> = now.replicas.iter().map(|replica| replica_row(replica, &rates)).collect();
    lines.extend(
        table(&["replica", "address", "roles", "requests/s", "orders/s", "state"], &rows)
            .lines()
            .map(str::to_owned),
    );
    lines
}

fn replica_row(replica: &Replica, rates: &Rates) -> Vec<Cell> {
    let address = replica.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let of_it = rates.by_replica.get(&(replica.name.clone(), address.clone()));
    let (roles, state) = match &replica.state {
        ReplicaState::Up { metrics, readiness } => {
            let roles: Vec<_> = metrics.roles.iter().copied().collect();
            let state = match readiness {
                Readiness::Ready => "ready".to_owned(),
                Readiness::Degraded(why) => format!("DEGRADED: {why}"),
                Readiness::NotReady(why) => format!("NOT READY: {why}"),
            };
            (roles.join(","), state)
        }
        ReplicaState::Down(why) => ("-".to_owned(), format!("DOWN: {why}")),
    };
    let rate = |value: Option<f64>| {
        Cell::number(value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}")))
    };
    vec![
        Cell::text(&replica.name),
        Cell::text(address),
        Cell::text(roles),
        rate(of_it.map(|rates| rates.0)),
        rate(of_it.map(|rates| rates.1)),
        Cell::text(state),
    ]
}

fn ready(snapshot: &Snapshot) -> usize {
    let is_ready = |state: &ReplicaState| {
        matches!(
            state,
            ReplicaState::Up { readiness: Readiness::Ready | Readiness::Degraded(_), .. }
        )
    };
    snapshot.replicas.iter().filter(|replica| is_ready(&replica.state)).count()
}

/// All replicas report the same table at different times; the maximum is the most recent while it
/// grows.
fn outbox(snapshot: &Snapshot) -> Option<f64> {
    metrics(snapshot).filter_map(|metrics| metrics.outbox).reduce(f64::max)
}

fn journal(snapshot: &Snapshot) -> Option<f64> {
    metrics(snapshot).filter_map(|metrics| metrics.journal).reduce(|sum, more| sum + more)
}

fn metrics(snapshot: &Snapshot) -> impl Iterator<Item = &Metrics> {
    snapshot.replicas.iter().filter_map(|replica| match &replica.state {
        ReplicaState::Up { metrics, .. } => Some(metrics),
        ReplicaState::Down(_) => None,
    })
}

fn events(number: Option<f64>) -> String {
    match number {
        None => "unknown".to_owned(),
        Some(1.0) => "1 event".to_owned(),
        Some(number) => format!("{number:.0} events"),
    }
}

/// Per second, over the replicas in both snapshots.
#[derive(Debug, Default)]
struct Rates {
    placed: f64,
    replayed: f64,
    refused: f64,
    requests: f64,
    failed: f64,
    refused_tokens: f64,
    failed_log_ins: f64,
    refused_admin_calls: f64,
    delivered: f64,
    by_replica: HashMap<(String, String), (f64, f64)>,
}

impl Rates {
    fn between(before: &Snapshot, now: &Snapshot) -> Self {
        let seconds = now.at.duration_since(before.at).as_secs_f64();
        let mut rates = Self::default();
        if seconds == 0.0 {
            return rates;
        }
        for replica in &now.replicas {
            let ReplicaState::Up { metrics: after, .. } = &replica.state else { continue };
            let earlier = before
                .replicas
                .iter()
                .find(|earlier| earlier.name == replica.name && earlier.address == replica.address);
            let Some(ReplicaState::Up { metrics: earlier, .. }) =
                earlier.map(|earlier| &earlier.state)
            else {
                continue;
            };
            // A restarted process counts from 0.
            let rate = |of: fn(&Metrics) -> f64| {
                let (earlier, after) = (of(earlier), of(after));
                (if after < earlier { after } else { after - earlier }) / seconds
            };
            let (requests, placed) =
                (rate(|metrics| metrics.requests), rate(|metrics| metrics.placed));
            rates.requests += requests;
            rates.placed += placed;
            rates.replayed += rate(|metrics| metrics.replayed);
            rates.refused += rate(|metrics| metrics.refused);
            rates.failed += rate(|metrics| metrics.failed);
            rates.refused_tokens += rate(|metrics| metrics.refused_tokens);
            rates.failed_log_ins += rate(|metrics| metrics.failed_log_ins);
            rates.refused_admin_calls += rate(|metrics| metrics.refused_admin_calls);
            rates.delivered += rate(|metrics| metrics.delivered);
            let address =
                replica.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
            rates.by_replica.insert((replica.name.clone(), address), (requests, placed));
        }
        rates
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use merch_contract::grpc::assistant::v1::Product;

    use super::*;

    fn replica(name: &str, port: u16, metrics: Metrics) -> Replica {
        Replica {
            name: name.to_owned(),
            address: Some(([10, 0, 0, 1], port).into()),
            state: ReplicaState::Up { metrics, readiness: Readiness::Ready },
        }
    }

    #[test]
    fn frame_shows_rates_stock_lag_and_down_replicas() {
        let start = Instant::now();
        let counted = |placed, outbox| Metrics {
            placed,
            outbox: Some(outbox),
            roles: ["db"].into(),
            ..Metrics::default()
        };
        let before = Snapshot {
            at: start,
            replicas: vec![
                replica("db:9102", 1, counted(100.0, 3.0)),
                replica("db:9102", 2, counted(900.0, 3.0)),
            ],
            products: Err("connection refused by db".to_owned()),
        };
        let mut down = replica("api:9101", 3, Metrics::default());
        down.state = ReplicaState::Down("connection refused".to_owned());
        let now = Snapshot {
            at: start + Duration::from_secs(2),
            // Restarted.
            replicas: vec![
                replica("db:9102", 1, counted(150.0, 1.0)),
                replica("db:9102", 2, counted(10.0, 4.0)),
                down,
            ],
            products: Ok(vec![Product {
                id: 1,
                name: "Hoodie\u{1b}[2J".to_owned(),
                stock: 42,
                ..Product::default()
            }]),
        };
        let text = frame(&before, &now, "now").join("\n");
        for expected in [
            "merch top  now  2 of 3 replicas are ready",
            "placed 30.0",
            "lag  outbox 4 events, journal unknown",
            " 1  Hoodie\\u{1b}[2J     42",
            "DOWN: connection refused",
            "db:9102   10.0.0.1:1  db            0.0      25.0  ready",
        ] {
            assert!(text.contains(expected), "{expected} is not in:\n{text}");
        }
        let text = frame(&now, &before, "now").join("\n");
        assert!(text.contains("stock  unknown: connection refused by db"), "{text}");
    }
}
