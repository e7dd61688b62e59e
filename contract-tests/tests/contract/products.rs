//! `GET /products` and `GET /products/{product_id}`.

use futures_util::TryStreamExt as _;
use merch_contract::rest::client::types::Product;
use merch_test_store::on_both_databases;
use serde_json::Value;

fn ids(page: &Value) -> Vec<i64> {
    page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|product| product["id"].as_i64().unwrap())
        .collect()
}

on_both_databases! {
    async fn catalogue_equals_the_seed(store: &TestStore) {
        let page = store.anonymous().list_products().send().await.unwrap();
        let listed: Vec<_> = page
            .items
            .iter()
            .map(|product| {
                (
                    product.name.as_str(),
                    product.price_cents,
                    product.category.as_str(),
                    product.stock,
                )
            })
            .collect();
        assert_eq!(
            listed,
            [
                ("SUSTech Hoodie", 4999, "Apparel", 500),
                ("SUSTech Water Bottle", 1999, "Drinkware", 500),
                ("SUSTech Notebook", 999, "Stationery", 500),
            ]
        );
        assert!(
            page.items
                .iter()
                .all(|product| !product.slogan.is_empty() && !product.description.is_empty())
        );
        assert_eq!(page.next_page, None);
    }

    async fn paging_returns_each_item_once(store: &TestStore) {
        let all = ids(&store.get("/products").await.expect(200).json());
        let (mut walked, mut path) = (Vec::new(), "/products?limit=1".to_owned());
        loop {
            let page = store.get(&path).await.expect(200).json();
            assert_eq!(ids(&page).len(), 1);
            walked.extend(ids(&page));
            let Some(token) = page["next_page"].as_str() else { break };
            path = format!("/products?limit=1&page_token={token}");
        }
        assert_eq!(walked, all);
        // The generated client's stream returns the same.
        let streamed: Vec<Product> =
            store.anonymous().list_products().limit(1_u32).stream().try_collect().await.unwrap();
        assert_eq!(
            streamed.iter().map(|product| i64::from(product.id.get())).collect::<Vec<_>>(),
            all
        );
    }

    async fn page_tokens_carry_the_filter(store: &TestStore) {
        store.sql("UPDATE products SET category = 'Apparel' WHERE id = 3").await;
        let first = store.get("/products?limit=1&category=Apparel").await.expect(200).json();
        assert_eq!(ids(&first), [1]);
        let token = first["next_page"].as_str().unwrap();
        let second = store.get(format!("/products?page_token={token}")).await.expect(200).json();
        assert_eq!((ids(&second), &second["next_page"]), (vec![3], &Value::Null));
        // The same filter may be repeated; another one contradicts the token.
        assert_eq!(
            store
                .get(format!("/products?page_token={token}&category=Apparel"))
                .await
                .expect(200)
                .json(),
            second
        );
        assert_eq!(
            store.get(format!("/products?page_token={token}&category=Drinkware")).await.faults(),
            ["query /page_token"]
        );
    }

    async fn unknown_categories_are_empty(store: &TestStore) {
        // Categories match exactly, with case.
        for category in ["Books", "apparel", "App", "Apparel%20", "%25"] {
            let page = store.get(format!("/products?category={category}")).await.expect(200).json();
            assert_eq!((ids(&page), &page["next_page"]), (vec![], &Value::Null), "{category}");
        }
    }

    async fn invalid_list_parameters_are_400(store: &TestStore) {
        for (query, faults) in [
            ("limit=0", vec!["query /limit"]),
            ("limit=101", vec!["query /limit"]),
            ("limit=-1", vec!["query /limit"]),
            ("limit=1.5", vec!["query /limit"]),
            ("limit=", vec!["query /limit"]),
            ("limit=ten", vec!["query /limit"]),
            ("limit=99999999999", vec!["query /limit"]),
            ("limit=1&limit=2", vec!["query /limit"]),
            ("limit=1&limit=1", vec!["query /limit"]),
            ("category=", vec!["query /category"]),
            ("page_token=nonsense", vec!["query /page_token"]),
            ("colour=red", vec!["query /colour"]),
            (
                "limit=0&category=&colour=red",
                vec!["query /category", "query /colour", "query /limit"],
            ),
        ] {
            assert_eq!(store.get(format!("/products?{query}")).await.faults(), faults, "{query}");
        }
        for query in ["limit=1", "limit=100", "limit=%31"] {
            store.get(format!("/products?{query}")).await.expect(200);
        }
    }

    async fn product_etag_changes_with_the_stock(store: &TestStore) {
        let first = store.get("/products/1").await.expect(200);
        assert_eq!(first.json()["stock"], 500);
        let etag = first.header("etag").to_owned();
        for condition in
            [etag.clone(), "*".to_owned(), format!("\"0\", {etag}"), format!("W/{etag}")]
        {
            let unchanged =
                store.get("/products/1").header("if-none-match", &condition).await.expect(304);
            assert_eq!(unchanged.header("etag"), etag, "{condition}");
        }
        store.get("/products/1").header("if-none-match", "\"12345\"").await.expect(200);

        let buyer = store.user().await;
        buyer.order(1, 2).await.expect(201);
        store.expect_events(["order_placed"]);
        let after = store.get("/products/1").header("if-none-match", &etag).await.expect(200);
        assert_eq!(after.json()["stock"], 498, "never stale");
        assert_ne!(after.header("etag"), etag);
    }

    async fn unknown_products_are_404(store: &TestStore) {
        store.get("/products/999").await.problem(404, "product_not_found");
        store.get("/products/2147483647").await.problem(404, "product_not_found");
        for id in ["0", "-1", "one", "1.0", "2147483648", "99999999999999999999", "%20"] {
            assert_eq!(
                store.get(format!("/products/{id}")).await.faults(),
                ["path /product_id"],
                "{id}"
            );
        }
        assert_eq!(
            store.get("/products/1").header("if-none-match", "nonsense").await.faults(),
            ["header /If-None-Match"]
        );
    }

    async fn missing_database_is_503(store: &TestStore) {
        store.stop_db().await;
        for path in ["/products", "/products/1"] {
            let answer = store.get(path).await;
            answer.problem(503, "unavailable");
            assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
        }
        store.restart_db().await;
        // The channel reconnects by itself after some time.
        let deadline = tokio::time::Instant::now() + merch_test_store::TIMEOUT;
        loop {
            let answer = store.get("/products/1").await;
            if answer.status == 200 {
                break;
            }
            answer.problem(503, "unavailable");
            assert!(
                tokio::time::Instant::now() < deadline,
                "the api did not reconnect to the db service"
            );
        }
    }
}
