//! What is shown: rates between two looks, and what is there now. A plain function, so that a frame
//! can be read in a test.

use std::collections::HashMap;

use super::{
    metrics::Numbers,
    sources::{Readiness, Replica, Seen, State},
};
use crate::table::{Cell, harmless, table};

/// The lines of one frame.
pub(super) fn frame(before: &Seen, now: &Seen, moment: &str) -> Vec<String> {
    let rates = Rates::between(before, now);
    let mut lines = vec![
        format!("merch top  {moment}  {} of {} replicas are ready", ready(now), now.replicas.len()),
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
            &["a second", "", "", ""],
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
            lines.extend(table(&["id", "product", "left"], &rows).lines().map(str::to_owned));
        }
        Err(why) => lines.push(format!("stock  not known: {}", harmless(why))),
    }
    lines.push(String::new());
    let rows: Vec<_> = now.replicas.iter().map(|replica| line(replica, &rates)).collect();
    lines.extend(
        table(&["replica", "address", "roles", "requests/s", "orders/s", "state"], &rows)
            .lines()
            .map(str::to_owned),
    );
    lines
}

fn line(replica: &Replica, rates: &Rates) -> Vec<Cell> {
    let address = replica.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let of_it = rates.by_replica.get(&(replica.name.clone(), address.clone()));
    let (roles, state) = match &replica.state {
        State::Up { numbers, readiness } => {
            let roles: Vec<_> = numbers.roles.iter().copied().collect();
            let state = match readiness {
                Readiness::Ready => "ready".to_owned(),
                Readiness::Degraded(why) => format!("DEGRADED: {why}"),
                Readiness::NotReady(why) => format!("NOT READY: {why}"),
            };
            (roles.join(","), state)
        }
        State::Down(why) => ("-".to_owned(), format!("DOWN: {why}")),
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

fn ready(seen: &Seen) -> usize {
    let is_ready = |state: &State| {
        matches!(state, State::Up { readiness: Readiness::Ready | Readiness::Degraded(_), .. })
    };
    seen.replicas.iter().filter(|replica| is_ready(&replica.state)).count()
}

/// All replicas count one table; the one that counted last knows best, and the greatest is nearest
/// to it while it grows.
fn outbox(seen: &Seen) -> Option<f64> {
    numbers(seen).filter_map(|numbers| numbers.outbox).reduce(f64::max)
}

/// Each api has a journal of its own.
fn journal(seen: &Seen) -> Option<f64> {
    numbers(seen).filter_map(|numbers| numbers.journal).reduce(|sum, more| sum + more)
}

fn numbers(seen: &Seen) -> impl Iterator<Item = &Numbers> {
    seen.replicas.iter().filter_map(|replica| match &replica.state {
        State::Up { numbers, .. } => Some(numbers),
        State::Down(_) => None,
    })
}

fn events(number: Option<f64>) -> String {
    match number {
        None => "not known".to_owned(),
        Some(1.0) => "1 event".to_owned(),
        Some(number) => format!("{number:.0} events"),
    }
}

/// What happened a second, of all replicas that were there both times.
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
    /// Requests and orders that were placed, by name and address.
    by_replica: HashMap<(String, String), (f64, f64)>,
}

impl Rates {
    fn between(before: &Seen, now: &Seen) -> Self {
        let seconds = now.at.duration_since(before.at).as_secs_f64();
        let mut rates = Self::default();
        if seconds == 0.0 {
            return rates;
        }
        for replica in &now.replicas {
            let State::Up { numbers: after, .. } = &replica.state else { continue };
            let earlier = before
                .replicas
                .iter()
                .find(|earlier| earlier.name == replica.name && earlier.address == replica.address);
            let Some(State::Up { numbers: earlier, .. }) = earlier.map(|earlier| &earlier.state)
            else {
                continue;
            };
            // A process that was started anew counts from 0 again.
            let rate = |of: fn(&Numbers) -> f64| {
                let (earlier, after) = (of(earlier), of(after));
                (if after < earlier { after } else { after - earlier }) / seconds
            };
            let (requests, placed) =
                (rate(|numbers| numbers.requests), rate(|numbers| numbers.placed));
            rates.requests += requests;
            rates.placed += placed;
            rates.replayed += rate(|numbers| numbers.replayed);
            rates.refused += rate(|numbers| numbers.refused);
            rates.failed += rate(|numbers| numbers.failed);
            rates.refused_tokens += rate(|numbers| numbers.refused_tokens);
            rates.failed_log_ins += rate(|numbers| numbers.failed_log_ins);
            rates.refused_admin_calls += rate(|numbers| numbers.refused_admin_calls);
            rates.delivered += rate(|numbers| numbers.delivered);
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

    fn replica(name: &str, port: u16, numbers: Numbers) -> Replica {
        Replica {
            name: name.to_owned(),
            address: Some(([10, 0, 0, 1], port).into()),
            state: State::Up { numbers, readiness: Readiness::Ready },
        }
    }

    #[test]
    fn a_frame_has_rates_stock_lag_and_who_is_down() {
        let start = Instant::now();
        let counted = |placed, outbox| Numbers {
            placed,
            outbox: Some(outbox),
            roles: ["db"].into(),
            ..Numbers::default()
        };
        let before = Seen {
            at: start,
            replicas: vec![
                replica("db:9102", 1, counted(100.0, 3.0)),
                replica("db:9102", 2, counted(900.0, 3.0)),
            ],
            products: Err("nobody there".to_owned()),
        };
        let mut down = replica("api:9101", 3, Numbers::default());
        down.state = State::Down("connection refused".to_owned());
        let now = Seen {
            at: start + Duration::from_secs(2),
            // The second one was started anew.
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
            "lag  outbox 4 events, journal not known",
            " 1  Hoodie\\u{1b}[2J    42",
            "DOWN: connection refused",
            "db:9102   10.0.0.1:1  db            0.0      25.0  ready",
        ] {
            assert!(text.contains(expected), "{expected} is not in:\n{text}");
        }
        let text = frame(&now, &before, "now").join("\n");
        assert!(text.contains("stock  not known: nobody there"), "{text}");
    }
}
