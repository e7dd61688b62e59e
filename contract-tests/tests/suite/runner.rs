//! The runner with custom cases: failures, cleanup, serial cases.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use contract_tests::{
    document::Document,
    options::Options,
    report::{CaseOutcome, Outcome, Report},
    suite::{Case, Requirement, run_cases},
};
use merch_test_store::{Database, TestStore};
use serde_json::json;

use crate::program::{remaining, store};

async fn run(store: &TestStore, change: impl FnOnce(&mut Options), cases: Vec<Case>) -> Report {
    let mut options = Options::new(store.url().parse().unwrap());
    options.only = vec!["place_order".to_owned()];
    change(&mut options);
    run_cases(options, Arc::new(Document::embedded()), cases).await
}

/// A case's result: `passed`, the failure's message, or the reason for the skip.
fn outcome_text<'r>(report: &'r Report, name: &str) -> &'r str {
    let case = report
        .cases
        .iter()
        .find(|case| case.name == name)
        .unwrap_or_else(|| panic!("no case {name}"));
    match &case.outcome {
        CaseOutcome::Passed => "passed",
        CaseOutcome::Failed(failure) => failure.message(),
        CaseOutcome::Skipped(why) => why,
    }
}

fn outcome(report: &Report, status: u16) -> &Outcome {
    &report.cells[&("place_order".to_owned(), status)].outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_outcome_is_reported_in_its_cell() {
    let store = TestStore::start(Database::Sqlite).await;
    let before = remaining(&store).await;
    let cases = vec![
        Case::new("place_order", 201, "buys", |context| async move {
            let (user, product) = (context.user().await?, context.product().await?);
            let order = json!({ "product_id": product.id, "quantity": 1 });
            context.call("place_order").as_user(&user).json(&order).expect(201).await?;
            // Also fills the cell of 401, which has no case of its own.
            context.call("place_order").json(&order).expect(401).await?.problem("token_missing")
        }),
        Case::new("place_order", 400, "expects another status", |context| async move {
            let user = context.user().await?;
            let order = json!({ "product_id": context.product().await?.id, "quantity": 3 });
            context.call("place_order").as_user(&user).json(&order).expect(400).await.map(|_| ())
        }),
        Case::new("place_order", 404, "panics", |context| async move {
            let user = context.own_user().await?;
            let order = json!({ "product_id": context.product().await?.id, "quantity": 2 });
            context.call("place_order").as_user(&user).json(&order).expect(201).await?;
            panic!("at the disco")
        }),
        Case::new("place_order", 409, "sold out", |_| async { Ok(()) })
            .requires(Requirement::ExhaustStock),
        Case::new("place_order", 401, "expired", |_| async { Ok(()) })
            .requires(Requirement::ExpiredToken),
        Case::new("list_orders", 200, "not asked for", |_| async { Err("it runs".into()) }),
        Case::new("no_such_operation", 200, "of another document", |_| async {
            Err("it runs".into())
        }),
        Case::new("place_order", 422, "cannot be", |context| async move {
            context.call("get_order").expect(200).await.map(|_| ())
        }),
    ];
    let report = run(&store, |_| {}, cases).await;

    assert!(report.failed());
    assert_eq!(outcome_text(&report, "buys"), "passed");
    assert_eq!(outcome_text(&report, "expects another status"), "expected 400, got 201");
    assert!(outcome_text(&report, "panics").ends_with("at the disco"), "{report:?}");
    assert_eq!(outcome_text(&report, "sold out"), "needs --exhaust-stock");
    assert_eq!(outcome_text(&report, "expired"), "needs --expired-token");
    assert!(outcome_text(&report, "of another document").contains("no_such_operation"));
    assert!(
        outcome_text(&report, "cannot be")
            .contains("/orders/{order_id} has a parameter without a value")
    );
    assert!(report.cases.iter().all(|case| case.name != "not asked for"));

    assert_eq!(outcome(&report, 201), &Outcome::Passed);
    assert_eq!(outcome(&report, 401), &Outcome::Passed, "a response in another case fills it");
    assert_eq!(outcome(&report, 400), &Outcome::Failed);
    assert_eq!(outcome(&report, 404), &Outcome::Failed);
    assert_eq!(outcome(&report, 409), &Outcome::Unreachable("needs --exhaust-stock".to_owned()));
    assert_eq!(outcome(&report, 413), &Outcome::NotReached);
    assert!(matches!(outcome(&report, 500), Outcome::Unreachable(_)));
    assert_eq!(report.not_reached().count(), 2, "413 and 415");

    let (_, failure) =
        report.failures().find(|(case, _)| case.name == "expects another status").unwrap();
    let curl = failure.exchanges()[0].request.curl();
    assert!(
        curl.starts_with(&format!("curl -sS -i --globoff -X 'POST' '{}/orders'", store.url())),
        "{curl}"
    );
    let (_, failure) = report.failures().find(|(case, _)| case.name == "panics").unwrap();
    assert!(
        failure.exchanges().iter().any(|exchange| exchange.request.path == "/orders"),
        "the last exchanges of the case: {failure}"
    );

    assert_eq!(report.warnings, Vec::<String>::new());
    assert_eq!(remaining(&store).await, before, "orders of failed cases are cancelled");
    store.finish_unchecked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serial_cases_run_alone() {
    let store = TestStore::start(Database::Sqlite).await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let case = |name: String, alone: bool| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        let case = Case::new("place_order", 201, name, move |context| async move {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            context.call("greet").expect(200).await?;
            let others = running.fetch_sub(1, Ordering::SeqCst) - 1;
            if alone && (now, others) != (1, 0) {
                Err("another case ran in parallel".into())
            } else {
                Ok(())
            }
        });
        if alone { case.serial() } else { case }
    };
    let cases = (0..40).map(|number| case(format!("case {number}"), number % 10 == 0)).collect();
    let report = run(&store, |options| options.jobs = 4, cases).await;
    assert_eq!(report.failures().count(), 0, "{report:?}");
    assert_eq!(most.load(Ordering::SeqCst), 4, "--jobs cases run in parallel");
    store.finish_unchecked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_reused_between_cases() {
    let store = store().await;
    let cases = (0..12).map(|number| {
        Case::new("place_order", 201, format!("case {number}"), move |context| async move {
            let mut user = context.own_user().await?;
            context.call("get_user").path("user_id", &user.id).as_user(&user).expect(200).await?;
            match number % 3 {
                0 => drop(context.call("log_out").as_user(&user).expect(204).await?),
                1 => {
                    let change = json!({ "current_password": user.password, "new_password": format!("{}+", user.password) });
                    context.call("change_password").path("user_id", &user.id).as_user(&user).json(&change).expect(204).await?;
                    user.set_password(&format!("{}+", user.password));
                    user.renew().await?;
                    context.call("get_user").path("user_id", &user.id).as_user(&user).expect(200).await?;
                }
                _ => {
                    let change = json!({ "username": context.fresh_name() });
                    context.call("update_user").path("user_id", &user.id).as_user(&user).json(&change).expect(200).await?;
                    context.call("deactivate_user").path("user_id", &user.id).as_user(&user).expect(204).await?;
                }
            }
            Ok(())
        })
    });
    let report = run(&store, |options| options.jobs = 1, cases.collect()).await;
    assert_eq!(report.failures().count(), 0, "{report:?}");
    assert_eq!(report.users, 4, "users are reused until a case deactivates them");
    assert_eq!(report.warnings, Vec::<String>::new());
    assert_eq!(remaining(&store).await.0, 0);
    store.finish_unchecked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purchases_by_others_are_warnings() {
    let store = TestStore::start(Database::Sqlite).await;
    let buys = Case::new("place_order", 201, "buys", |context| async move {
        let (user, product) = (context.user().await?, context.product().await?);
        let order = json!({ "product_id": product.id, "quantity": 1 });
        context.call("place_order").as_user(&user).json(&order).expect(201).await.map(|_| ())
    });
    let sell = Case::new("place_order", 404, "meanwhile", |context| async move {
        let sold = context.product().await?;
        let other = context.disposable_user().await?;
        let order = json!({ "product_id": sold.id, "quantity": 3 });
        context.call("place_order").as_user(&other).json(&order).expect(201).await?;
        // Without its user, the order cannot be cancelled.
        context
            .call("deactivate_user")
            .path("user_id", &other.id)
            .as_user(&other)
            .expect(204)
            .await
            .map(|_| ())
    });
    let report = run(&store, |_| {}, vec![buys, sell]).await;
    assert_eq!(report.failures().count(), 0, "{report:?}");
    assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
    assert!(report.warnings[0].contains("stays placed"), "{:?}", report.warnings);
    assert!(
        report.warnings[1].contains("another client bought or cancelled, or the store lost pieces"),
        "{:?}",
        report.warnings
    );
    store.finish_unchecked().await;
}
