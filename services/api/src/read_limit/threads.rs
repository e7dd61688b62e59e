//! Models of threads that share memory budgets.

use std::sync::atomic::AtomicUsize;

use simulator::threads::{Fault, assert_found, check, point, spawn};

use super::*;

const MAX: usize = 2;
const MAX_OF_ADDRESS: usize = 1;

/// Two connections of an address and one of a proxy read two requests each.
fn model() {
    let total = MemoryBudget::new(MAX * READ_CHUNK);
    let address = MemoryBudget::new(MAX_OF_ADDRESS * READ_CHUNK);
    // The requests that hold memory.
    let (of_all, of_address) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let connections = [true, true, false].map(|has_limit| {
        let quota = MemoryQuota::new(&total, has_limit.then(|| Arc::clone(&address)));
        let limit = ReadLimit::new(quota, RequestLimits::new(8192, 8192));
        let mut holders = vec![(Arc::clone(&of_all), MAX)];
        if has_limit {
            holders.push((Arc::clone(&of_address), MAX_OF_ADDRESS));
        }
        spawn(move || {
            for _ in 0..2 {
                limit.start_request();
                if limit.record_read(FREE_BYTES + READ_CHUNK).is_ok() {
                    for (holders, max) in &holders {
                        let holders = holders.fetch_add(1, Ordering::Relaxed) + 1;
                        assert!(holders <= *max, "{holders} requests hold the memory of {max}");
                    }
                    point();
                    for (holders, _) in &holders {
                        holders.fetch_sub(1, Ordering::Relaxed);
                    }
                }
                limit.finish_request(false);
            }
        })
    });
    connections.into_iter().for_each(|connection| connection.join().unwrap());
    let used = [&total, &address].map(|budget| budget.used.load(Ordering::Relaxed));
    assert_eq!(used, [0, 0], "bytes that no request holds");
}

#[test]
fn budgets_are_kept_and_released() {
    check(model);
}

#[test]
fn torn_reservation_is_found() {
    assert_found(Some(Fault::TornUpdates), "hold", model);
}
