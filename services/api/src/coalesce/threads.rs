//! A model of threads that read a row while another one changes it.

use std::sync::{OnceLock, atomic::Ordering};

use simulator::threads::{AtomicUsize, assert_found, check, spawn};

use super::*;

/// The version that a call has read.
type Call = Arc<OnceLock<usize>>;

/// Three requests and two changes. `reads_early`: a call reads before it departs.
fn model(reads_early: bool) {
    let (departures, version) = (Arc::new(Departures::new()), Arc::new(AtomicUsize::default()));
    let requests: Vec<_> = (0..3)
        .map(|_| {
            let (departures, version) = (Arc::clone(&departures), Arc::clone(&version));
            spawn(move || {
                let arrived_at = version.load(Ordering::SeqCst);
                let (call, departing) = departures.join(&(), |()| Call::default(), Arc::clone);
                let Some(mut departing) = departing else { return (arrived_at, call) };
                let mut read = version.load(Ordering::SeqCst);
                loop {
                    departing.set(read).unwrap();
                    if reads_early {
                        read = version.load(Ordering::SeqCst);
                    }
                    let Some(next) = departures.next(&(), |_| true) else { break };
                    if !reads_early {
                        read = version.load(Ordering::SeqCst);
                    }
                    departing = next;
                }
                (arrived_at, call)
            })
        })
        .collect();
    let changes = spawn(move || {
        for _ in 0..2 {
            version.fetch_add(1, Ordering::SeqCst);
        }
    });
    let requests: Vec<_> = requests.into_iter().map(|request| request.join().unwrap()).collect();
    for (arrived_at, call) in requests {
        let read = *call.get().expect("a request waits for a call that never departs");
        assert!(read >= arrived_at, "stale: version {read} after {arrived_at}");
    }
    changes.join().unwrap();
    assert!(departures.keys().is_empty(), "a key without calls is kept");
}

#[test]
fn reads_are_never_stale() {
    check(|| model(false));
}

#[test]
fn read_before_departure_is_found() {
    assert_found(None, "stale", || model(true));
}
