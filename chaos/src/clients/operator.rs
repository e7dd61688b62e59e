//! The operator, who restocks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::Recorder;
use crate::{
    history::{Call, Operation, Response},
    store::Store,
};

/// The products, each with the share of orders for it in percent, and the pieces that a restock
/// adds at least and at most. The first is almost always sold out, the last one never.
pub(super) const PRODUCTS: [(i64, u32, [i64; 2]); 3] =
    [(1, 45, [1, 12]), (2, 30, [5, 40]), (3, 25, [1_000, 3_000])];

/// Restocks repeatedly, as the operator does. `client` is the operator's number in the history.
pub async fn restock(
    client: usize,
    seed: u64,
    store: Arc<Store>,
    recorder: Arc<Recorder>,
    stop: Arc<AtomicBool>,
) {
    let mut random = StdRng::seed_from_u64(seed ^ 0x5eed);
    let replicas = store.operator_replicas();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let (product, _, [least, most]) = PRODUCTS[number % PRODUCTS.len()];
        number += 1;
        let (key, pieces) = (format!("restock-{number}"), random.random_range(least..=most));
        for attempt in 0..5 {
            let call = Call::Restock { product, pieces, key: key.clone() };
            let began = recorder.now();
            let replica = number + attempt;
            let done = store.restock(product, pieces, &key, replica).await;
            let response = done.is_ok().then(|| Response { status: 200, ..Response::default() });
            let ended = recorder.now();
            recorder.record(Operation {
                client,
                server: (replicas > 0).then(|| replica % replicas),
                began,
                ended,
                call,
                response,
                impatient: false,
            });
            if done.is_ok() || stop.load(Ordering::Relaxed) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1_000))).await;
    }
}
