use super::*;

on_both!(
    async fn restock_adds_or_sets_once_per_key(store: &TestService) {
        let operator = operator(store);
        let version = store.product(HOODIE).await.version;
        let added = operator.restock("k1", HOODIE, Change::Add(50)).await.unwrap();
        assert_eq!(added, RestockResponse { stock: 550, difference: 50, replayed: false });
        let set = operator.restock("k2", HOODIE, Change::Set(10)).await.unwrap();
        assert_eq!(set, RestockResponse { stock: 10, difference: -540, replayed: false });
        // The first response, although the stock has changed.
        assert_eq!(
            operator.restock("k1", HOODIE, Change::Add(50)).await.unwrap(),
            RestockResponse { replayed: true, ..added }
        );
        let reused = error(Code::FailedPrecondition, ErrorReason::IdempotencyKeyReused);
        for (product, change) in
            [(HOODIE, Change::Add(51)), (HOODIE, Change::Set(50)), (BOTTLE, Change::Add(50))]
        {
            assert_eq!(error_of(operator.restock("k1", product, change).await), reused);
        }
        let product = store.product(HOODIE).await;
        assert_eq!((product.stock, product.version), (10, version + 2));
        assert_eq!(operator.restock("k3", HOODIE, Change::Set(10)).await.unwrap().difference, 0);
        assert_eq!(store.product(HOODIE).await.version, version + 2);

        let events = store.events().await;
        let changes: Vec<_> = events
            .iter()
            .map(|event| {
                (event.attributes["difference"].as_str(), event.attributes["stock"].as_str())
            })
            .collect();
        assert_eq!(changes, [("50", "550"), ("-540", "10")], "no change, no event");
        for event in &events {
            let facts = (
                event.event.as_str(),
                event.actor.as_str(),
                event.subject.as_str(),
                event.request_id.as_str(),
            );
            assert_eq!(facts, ("product_restocked", "operator", "product:1", "r-1"));
            assert_eq!(merch_logging::rules::check(event), []);
        }
    }
);

on_both!(
    async fn invalid_restock_changes_nothing(store: &TestService) {
        let operator = operator(store);
        assert_eq!(
            error_of(operator.restock("k", 99, Change::Add(1)).await),
            error(Code::NotFound, ErrorReason::ProductNotFound)
        );
        for (key, change, field) in [
            ("", Change::Add(1), "idempotency_key"),
            ("a b", Change::Add(1), "idempotency_key"),
            ("k", Change::Add(0), "add"),
            ("k", Change::Add(-1), "add"),
            ("k", Change::Add(1_000_000_001), "add"),
            ("k", Change::Add(999_999_501), "add"),
            ("k", Change::Set(-1), "set"),
            ("k", Change::Set(1_000_000_001), "set"),
        ] {
            assert_eq!(
                invalid_fields(operator.restock(key, HOODIE, change).await),
                [field],
                "{key:?} {change:?}"
            );
        }
        let request = RestockRequest {
            idempotency_key: "k".to_owned(),
            product_id: HOODIE,
            ..RestockRequest::default()
        };
        assert_eq!(invalid_fields(operator.0.clone().restock(call(request)).await), ["change"]);
        assert_eq!(
            (store.product(HOODIE).await.stock, store.count("admin_requests").await),
            (500, 0)
        );
        assert!(store.events().await.is_empty());
        assert_eq!(
            operator.restock("k", HOODIE, Change::Add(999_999_500)).await.unwrap().stock,
            1_000_000_000
        );
    }
);

on_both!(
    async fn concurrent_restocks_with_one_key_apply_once(store: &TestService) {
        let operator = operator(store);
        let calls: Vec<_> = (0..24)
            .map(|n| {
                let operator = operator.clone();
                // Only one of two products gets the key.
                tokio::spawn(async move { operator.restock("k", 1 + n % 2, Change::Add(7)).await })
            })
            .collect();
        let (mut done, mut replayed, mut reused) = (0, 0, 0);
        for call in calls {
            match call.await.unwrap() {
                Ok(RestockResponse { replayed: false, .. }) => done += 1,
                Ok(_) => replayed += 1,
                Err(status) => {
                    assert_eq!(
                        error_of(Err::<(), _>(status)),
                        error(Code::FailedPrecondition, ErrorReason::IdempotencyKeyReused)
                    );
                    reused += 1;
                }
            }
        }
        assert_eq!((done, replayed, reused), (1, 11, 12));
        assert_eq!(store.product(HOODIE).await.stock + store.product(BOTTLE).await.stock, 1007);
        assert_eq!(store.event_names().await, ["product_restocked"]);
    }
);

on_both!(
    async fn new_price_applies_to_later_orders(store: &TestService) {
        let (operator, buyer) = (operator(store), store.register("ada").await);
        let cheap = store.buy(&buyer, HOODIE, 2).await;
        let answer = operator.set_price(HOODIE, 5999).await.unwrap();
        let product = answer.product.unwrap();
        assert_eq!((product.price_cents, answer.previous_price_cents), (5999, 4999));
        assert_eq!(product, store.product(HOODIE).await);
        let again = operator.set_price(HOODIE, 5999).await.unwrap();
        assert_eq!(
            (again.previous_price_cents, again.product.as_ref()),
            (5999, Some(&product)),
            "nothing was done"
        );
        let dear = store.buy(&buyer, HOODIE, 2).await;
        assert_eq!((cheap.total_price_cents, dear.total_price_cents), (9998, 11_998));
        assert_eq!(store.cancel(&buyer, &cheap.id).await.unwrap().total_price_cents, 9998);
        assert_eq!(
            error_of(operator.set_price(99, 1).await),
            error(Code::NotFound, ErrorReason::ProductNotFound)
        );
        for wrong in [-1, 1_000_000_000_001] {
            assert_eq!(invalid_fields(operator.set_price(HOODIE, wrong).await), ["price_cents"]);
        }
        operator.set_price(HOODIE, 0).await.unwrap();
        let events = store.events().await;
        let prices: Vec<_> =
            events.iter().filter(|event| event.event == "product_price_set").collect();
        assert_eq!(prices.len(), 2);
        assert_eq!(
            (
                prices[0].attributes["price_cents"].as_str(),
                prices[0].attributes["previous_price_cents"].as_str()
            ),
            ("5999", "4999")
        );
        assert_eq!(
            (prices[0].actor.as_str(), prices[0].subject.as_str()),
            ("operator", "product:1")
        );
    }
);
