//! Promise 7, and the exceptions that faults are.

use super::*;

#[test]
fn each_failure_without_its_fault_is_found() {
    assert_found(
        little_history,
        &[
            (7, "a request got 500 internal_error", |h, _| {
                refuse(h, LOG_OUT, 500, "internal_error")
            }),
            (7, "a request got 502", |h, _| {
                h.operations[LOST].response = Some(Response { status: 502, ..Response::default() });
            }),
            (7, "a request got 504", |h, _| refuse(h, LIST, 504, "")),
            (7, "a request got 429", |h, _| refuse(h, LIST, 429, "too_many_writes")),
            (7, "a request got 503, and no fault", |h, _| refuse(h, LIST, 503, "unavailable")),
            (7, "a request got no response, and no fault", |h, _| {
                h.operations[LIST].response = None
            }),
            (7, "a request got no response, and no fault", |h, _| response(h, RESTOCK).status = 0),
            (7, "a request got 503, and no fault", |h, _| {
                h.faults[0].ended = seconds(30);
                refuse(h, LIST, 503, "unavailable");
            }),
            (7, "a request got no response, and no fault", |h, _| {
                let fault = h.faults[1].clone();
                h.faults.push(Fault { began: seconds(40), ended: seconds(89), ..fault });
                h.faults.remove(1);
            }),
            (7, "a request got 400 invalid_request", |h, _| {
                refuse(h, UNKEYED, 400, "invalid_request")
            }),
            (7, "explains it; the others: {\"cut clients -> api 1\"}", |h, _| {
                h.faults[1].what = "cut clients -> api 1".to_owned();
            }),
            (7, "explains it; the others: {\"tear api 1 -> db 0\"}", |h, _| {
                h.faults[1].what = "tear api 1 -> db 0".to_owned();
            }),
            (7, "explains it; the others: {\"skew api 0, +4000 ms\"}", |h, _| {
                h.faults[1].what = "skew api 0, +4000 ms".to_owned();
            }),
            (7, "explains it; the others: {\"cut operator -> db 0\"}", |h, _| {
                h.faults[1].what = "cut operator -> db 0".to_owned();
            }),
            (7, "explains it; the others: {\"cut clients -> api 0\"}", |h, _| {
                during(h, "cut clients -> api 0");
                response(h, RESTOCK).status = 0;
            }),
            (7, "a request got 503, and no fault", |h, _| {
                during(h, "fill disk of api 0");
                refuse(h, LIST, 503, "unavailable");
            }),
            (7, "a request got 503, and no fault", |h, _| {
                during(h, "fill disk of api 1");
                refuse(h, FORGED, 503, "unavailable");
            }),
            (7, "a request got no response, and no fault", |h, _| {
                during(h, "fill disk of api 0");
                h.operations[FORGED].response = None;
            }),
            (7, "a request took 9.0 s, and its limit is 5s", |h, _| lengthen(h, LIST, 9)),
            (7, "a request took 9.0 s, and its limit is 5s", |h, _| {
                during(h, "freeze logging 1");
                lengthen(h, LIST, 9);
            }),
            (7, "a request took 19.0 s, and its limit is 15s", |h, _| {
                during(h, "freeze db 0");
                lengthen(h, LIST, 19);
            }),
            (7, "a request took 19.0 s", |h, _| {
                during(h, "freeze api 1");
                lengthen(h, LIST, 19);
            }),
        ],
    );
}

/// Lets a fault last for all but the last operation.
fn during(history: &mut History, what: &str) {
    history.faults[0].what = what.to_owned();
    history.faults[0].ended = seconds(60);
}

fn lengthen(history: &mut History, index: usize, length: u64) {
    history.operations[index].ended = history.operations[index].began + seconds(length);
}

#[test]
fn faults_excuse_what_they_affect() {
    type Change = fn(&mut History);
    let excused: [(&str, Change); 9] = [
        ("fill disk of api 0", |h| refuse(h, FORGED, 503, "unavailable")),
        ("fill disk of api 0", |h| refuse(h, WRONG_PASSWORD, 503, "unavailable")),
        ("fill disk of api 0", |h| refuse(h, REVOKED, 503, "unavailable")),
        ("cut operator -> db 0", |h| response(h, RESTOCK).status = 0),
        ("cut api 0 -> db 1", |h| h.operations[PRODUCT].response = None),
        ("freeze db 0", |h| lengthen(h, LAST_LIST, 17)),
        ("freeze api 0", |h| lengthen(h, LAST_LIST, 19)),
        ("partition clients -> api 0", |h| lengthen(h, LAST_LIST, 19)),
        ("partition clients -> store", |h| lengthen(h, LAST_LIST, 19)),
    ];
    for (what, change) in excused {
        let (mut history, books) = little_history();
        during(&mut history, what);
        change(&mut history);
        let report = check(&history, &books);
        let found: Vec<_> = report.violations.iter().filter(|it| it.promise == 7).collect();
        assert!(found.is_empty(), "{what}: {found:?}");
    }
}

#[test]
fn late_order_after_a_refusal_is_excepted_during_faults() {
    let (mut history, mut books) = little_history();
    let Call::Place { key, .. } = &mut history.operations[LOST].call else { unreachable!() };
    *key = Some("late".to_owned());
    let mut refused = history.operations[LOST].clone();
    refused.began += seconds(2);
    refused.ended += seconds(2);
    let Call::Place { token, product: 1, .. } = refused.call else { unreachable!() };
    refused.response = Some(Response { status: 429, ..Response::default() });
    let id = unobserved(&books.tables);
    books.tables.keys.insert((token.user, "late".to_owned()), id);
    history.operations.push(refused);
    let promises = |report: &Report| -> Vec<u8> {
        report.violations.iter().map(|violation| violation.promise).collect()
    };
    assert_eq!(promises(&check(&history, &books)), [7], "429 says nothing about the order");
    response(&mut history, LOST + 1).status = 400;
    let report = check(&history, &books);
    assert_eq!((promises(&report), report.totals.late), (vec![7], 1));
    type Change = fn(&mut History);
    let not_excepted: [Change; 4] = [
        |history| drop(history.faults.remove(1)),
        |history| history.faults[1].what = "kill kafka".to_owned(),
        |history| history.faults[1].what = "freeze api 1".to_owned(),
        // The call to db has ended by then.
        |history| {
            let refused = &mut history.operations[LOST + 1];
            (refused.began, refused.ended) = (seconds(108), seconds(109));
        },
    ];
    for (number, change) in not_excepted.into_iter().enumerate() {
        let mut history = history.clone();
        change(&mut history);
        assert!(promises(&check(&history, &books)).contains(&2), "{number}");
    }
    // Without a fault, attempts at the same time have no order.
    let mut concurrent = history;
    concurrent.faults.remove(1);
    concurrent.operations[LOST].ended = seconds(102);
    let report = check(&concurrent, &books);
    assert!(!promises(&report).contains(&2) && report.totals.late == 1, "{report}");
}
