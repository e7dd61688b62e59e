use merch_contract::grpc::assistant::v1::*;
use tonic::Code;

use crate::harness::*;

async fn page(
    store: &TestService,
    page_size: i32,
    page_token: &str,
    category: Option<&str>,
) -> Result<ListProductsResponse, tonic::Status> {
    let request = ListProductsRequest {
        page_size,
        page_token: page_token.to_owned(),
        category: category.map(str::to_owned),
    };
    Ok(store.client().list_products(call(request)).await?.into_inner())
}

on_both!(
    async fn new_store_has_three_products(store: &TestService) {
        let page = page(store, 100, "", None).await.unwrap();
        assert_eq!(page.next_page_token, "");
        let seen: Vec<_> = page
            .products
            .iter()
            .map(|p| {
                (
                    p.id,
                    p.name.as_str(),
                    p.category.as_str(),
                    p.price_cents,
                    p.stock,
                    p.currency.as_str(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (1, "SUSTech Hoodie", "Apparel", 4999, 500, "CNY"),
                (2, "SUSTech Water Bottle", "Drinkware", 1999, 500, "CNY"),
                (3, "SUSTech Notebook", "Stationery", 999, 500, "CNY"),
            ]
        );
        for product in &page.products {
            assert!(!product.slogan.is_empty() && !product.description.is_empty());
            assert_eq!(&store.product(product.id).await, product);
        }
    }
);

on_both!(
    async fn single_item_pages_list_all_products(store: &TestService) {
        store
            .sql(
                "INSERT INTO products (id, name, category, slogan, description, price_cents, \
                 currency, stock, version) \
                 VALUES (7, 'Scarf', 'Apparel', '', '', 1, 'CNY', 0, 1), (9, 'Cap', 'Apparel', '', \
                 '', 1, 'CNY', 0, 1)",
            )
            .await;
        for (category, expected) in [
            (None, vec![1, 2, 3, 7, 9]),
            (Some("Apparel"), vec![1, 7, 9]),
            (Some("Nothing"), vec![]),
            (Some("a\0"), vec![]),
        ] {
            let (mut seen, mut token) = (vec![], String::new());
            loop {
                let asked = category.filter(|_| token.is_empty());
                let page = page(store, 1, &token, asked).await.unwrap();
                assert!(page.products.len() <= 1);
                seen.extend(page.products.iter().map(|product| product.id));
                token = page.next_page_token;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(seen, expected);
        }
    }
);

on_both!(
    async fn invalid_product_page_is_refused(store: &TestService) {
        for size in [0, 101, -1, i32::MIN] {
            assert_eq!(invalid_fields(page(store, size, "", None).await), ["page_size"]);
        }
        let token = page(store, 1, "", Some("Apparel")).await.unwrap().next_page_token;
        assert_eq!(token, "", "there is one hoodie");
        let token = page(store, 1, "", None).await.unwrap().next_page_token;
        page(store, 1, &token, None).await.unwrap();
        let invalid = error(Code::InvalidArgument, ErrorReason::InvalidPageToken);
        assert_eq!(error_of(page(store, 1, &token, Some("Apparel")).await), invalid);
        for token in ["nonsense", "AQI", &token[1..], &format!("{token}A")] {
            assert_eq!(error_of(page(store, 1, token, None).await), invalid, "{token}");
        }
    }
);

on_both!(
    async fn unknown_product_is_not_found(store: &TestService) {
        for product_id in [0, 4, -1, i32::MAX] {
            let outcome = store.client().get_product(call(GetProductRequest { product_id })).await;
            assert_eq!(error_of(outcome), error(Code::NotFound, ErrorReason::ProductNotFound));
        }
    }
);
