use super::*;

fn cell(outcome: Outcome, passed: usize, failed: usize, skipped: usize) -> Cell {
    Cell { outcome, passed, failed, skipped, answers: passed }
}

fn case(name: &str, status: u16, outcome: CaseOutcome) -> CaseResult {
    CaseResult {
        name: name.to_owned(),
        operation: "place_order".to_owned(),
        status,
        outcome,
        duration: Duration::from_millis(1500),
    }
}

fn report() -> Report {
    let key = |status: u16| ("place_order".to_owned(), status);
    let mut report =
        Report::not_tested("http://h/".to_owned(), "Store 1.0.0".to_owned(), String::new());
    report.not_tested = None;
    report.operations = vec![TestedOperation {
        id: "place_order".to_owned(),
        tag: "OrderManager".to_owned(),
        method: Method::POST,
        path: "/orders".to_owned(),
    }];
    report.cells = BTreeMap::from([
        (key(201), cell(Outcome::Passed, 2, 0, 0)),
        (key(400), cell(Outcome::Failed, 1, 1, 0)),
        (key(401), cell(Outcome::Passed, 0, 0, 0)),
        (key(409), cell(Outcome::Unreachable("needs --exhaust-stock".to_owned()), 0, 0, 1)),
        (key(415), cell(Outcome::NotReached, 0, 0, 0)),
    ]);
    report.cases = vec![
        case("buys", 201, CaseOutcome::Passed),
        case(
            "a \"quoted\" <name> & \u{1b}[2J\u{FFFF}",
            400,
            CaseOutcome::Failed(Failure::new("expected 400,\ngot 201")),
        ),
        case("sold out", 409, CaseOutcome::Skipped("needs --exhaust-stock".to_owned())),
    ];
    report.warnings = vec!["the stock is not what it was".to_owned()];
    report
}

#[test]
fn table_lists_cells_then_failures() {
    let text = table(&report(), false);
    for line in [
        "operation    status  outcome         cases",
        "place_order     201  passed          2 passed",
        "                400  failed          1 passed, 1 failed",
        "                401  passed          answered in other cases",
        "                409  not reachable   1 not run, needs --exhaust-stock",
        "                415  not reached",
        "not run: needs --exhaust-stock",
        "warning: the stock is not what it was",
        "The implementation does not conform to the document.",
    ] {
        assert!(text.lines().any(|have| have == line), "no line {line:?} in\n{text}");
    }
    assert!(text.contains("1. place_order 400: a \"quoted\""), "{text}");
    assert!(text.contains("\nnot reached: place_order declares 415"), "{text}");
    assert!(!text.contains('\x1b'), "no colours, and none of an answer's");
    assert!(table(&report(), true).contains("\x1b[32mpassed"), "colours for a terminal");
}

#[test]
fn junit_is_valid_xml_with_counts() {
    let text = junit(&report());
    let tree = roxmltree::Document::parse(&text).unwrap();
    let root = tree.root_element();
    let attribute = |name: &str| root.attribute(name).unwrap();
    assert_eq!(
        (attribute("tests"), attribute("failures"), attribute("skipped")),
        ("4", "2", "1"),
        "{text}"
    );
    let cases: Vec<_> = tree.descendants().filter(|node| node.has_tag_name("testcase")).collect();
    assert_eq!(cases.len(), 4);
    assert_eq!(cases[1].attribute("name"), Some("400 a \"quoted\" <name> & \\u{1b}[2J\\u{ffff}"));
    assert_eq!(cases[1].attribute("classname"), Some("OrderManager.place_order"));
    assert_eq!(cases[1].attribute("time"), Some("1.500"));
    let failure = cases[1].children().find(|node| node.has_tag_name("failure")).unwrap();
    assert_eq!(failure.attribute("message"), Some("expected 400,\ngot 201"));
    assert!(cases[2].children().any(|node| node.has_tag_name("skipped")));
    assert!(
        cases[3].children().any(|node| node.has_tag_name("failure")),
        "a cell that no case reached"
    );
}

#[test]
fn failed_and_unreached_cells_fail_a_run() {
    assert!(report().failed());
    let passing = || {
        let mut report = report();
        report.cases.retain(|case| !matches!(case.outcome, CaseOutcome::Failed(_)));
        report
            .cells
            .retain(|_, cell| matches!(cell.outcome, Outcome::Passed | Outcome::Unreachable(_)));
        report
    };
    assert!(!passing().failed(), "a warning does not");
    let mut report = passing();
    report.interrupted = true;
    assert!(report.failed());
    let mut report = passing();
    report.not_tested = Some("the store is unreachable".to_owned());
    assert!(report.failed());
    let mut report = passing();
    report.cells.insert(("place_order".to_owned(), 415), cell(Outcome::NotReached, 0, 0, 0));
    assert!(report.failed());
    assert_eq!(json(&report)["passed"], false);
}
