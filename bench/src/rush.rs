//! A rush: many buyers want few pieces within a second.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::{
    http::{Connection, request},
    load::Meter,
    store::Store,
};

/// Connections that are opened at the same time.
const OPENING: usize = 100;

/// The order of one buyer. Times are seconds since the start of the rush.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Answer {
    due: f64,
    answered: f64,
    status: u16,
}

/// Who got what, and when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) buyers: usize,
    pub(crate) placed: usize,
    pub(crate) out_of_stock: usize,
    /// Other responses.
    pub(crate) other: usize,
    /// Seconds from the first request to the last response.
    pub(crate) all_answered: f64,
    /// When the last buyer with a piece, and the first without, sent their requests.
    pub(crate) last_winner_sent: f64,
    pub(crate) first_loser_sent: f64,
    /// Buyers with a piece whose requests were sent after that of a buyer without one.
    pub(crate) overtakers: usize,
}

/// Lets all buyers order one piece of product 1 at random times within `window`. Connections are
/// open before, and kept.
pub(crate) async fn rush(
    store: &Store,
    buyers: usize,
    window: Duration,
    seed: u64,
) -> Result<(Outcome, Meter)> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut connections = Vec::with_capacity(buyers);
    let mut opening = JoinSet::new();
    for number in 0..buyers {
        let address = store.api_address;
        opening.spawn(Connection::open(address));
        if opening.len() >= OPENING || number + 1 == buyers {
            for connection in opening.join_all().await {
                connections.push(connection.context("the connection of a buyer")?);
            }
            opening = JoinSet::new();
        }
    }
    let began = Instant::now() + Duration::from_millis(100);
    let mut waiting = JoinSet::new();
    for (mut connection, user) in connections.into_iter().zip(&store.users) {
        let authorization = format!("Authorization: Bearer {}\r\n", store.tokens.of(*user));
        let body = r#"{"product_id":1,"quantity":1}"#;
        let request = request("POST", "/orders", &authorization, body);
        let due = began + window.mul_f64(random.random_range(0.0..1.0));
        waiting.spawn(async move {
            tokio::time::sleep_until(due.into()).await;
            let status = connection.send(&request).await?.status;
            let since = |time: Instant| time.saturating_duration_since(began).as_secs_f64();
            let answer = Answer { due: since(due), answered: since(Instant::now()), status };
            anyhow::Ok((answer, connection))
        });
    }
    let (mut answers, mut meter) = (Vec::with_capacity(buyers), Meter::default());
    // Held until the end, as browsers do.
    let mut open = Vec::with_capacity(buyers);
    while let Some(answered) = waiting.join_next().await {
        let (answer, connection) = answered?.context("the order of a buyer")?;
        let outcome = crate::load::Outcome {
            is_expected: matches!(answer.status, 201 | 409),
            ..crate::load::Outcome::of(answer.status, 201)
        };
        meter.record(outcome, Duration::from_secs_f64(answer.answered - answer.due));
        answers.push(answer);
        meter.sent += connection.sent;
        meter.received += connection.received;
        open.push(connection);
    }
    let outcome = judge(&answers);
    meter.seconds = outcome.all_answered;
    Ok((outcome, meter))
}

fn judge(answers: &[Answer]) -> Outcome {
    let of = |status: u16| answers.iter().filter(move |answer| answer.status == status);
    let last_winner_sent = of(201).map(|answer| answer.due).fold(0.0, f64::max);
    let first_loser_sent = of(409).map(|answer| answer.due).fold(f64::INFINITY, f64::min);
    let (placed, out_of_stock) = (of(201).count(), of(409).count());
    let has_losers = first_loser_sent.is_finite();
    Outcome {
        buyers: answers.len(),
        placed,
        out_of_stock,
        other: answers.len() - placed - out_of_stock,
        all_answered: answers.iter().map(|answer| answer.answered).fold(0.0, f64::max),
        last_winner_sent,
        first_loser_sent: if has_losers { first_loser_sent } else { 0.0 },
        overtakers: of(201).filter(|answer| answer.due > first_loser_sent).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overtakers_are_winners_after_a_loser() {
        let answer = |due, status| Answer { due, answered: due + 0.5, status };
        let answers = [
            answer(0.1, 201),
            answer(0.2, 409),
            answer(0.3, 201),
            answer(0.4, 409),
            answer(0.5, 503),
        ];
        let outcome = judge(&answers);
        let expected = Outcome {
            buyers: 5,
            placed: 2,
            out_of_stock: 2,
            other: 1,
            all_answered: 1.0,
            last_winner_sent: 0.3,
            first_loser_sent: 0.2,
            overtakers: 1,
        };
        assert_eq!(outcome, expected);
        assert_eq!(judge(&answers[..1]).overtakers, 0);
    }
}
