use merch_contract::grpc::assistant::v1::*;
use tonic::Code;

use crate::harness::*;

async fn list(
    store: &TestService,
    buyer: &Buyer,
    page_size: i32,
    page_token: &str,
    status: OrderStatus,
) -> Result<ListOrdersResponse, tonic::Status> {
    let request = ListOrdersRequest {
        caller: Some(buyer.caller.clone()),
        page_size,
        page_token: page_token.to_owned(),
        status: status.into(),
    };
    Ok(store.client().list_orders(call(request)).await?.into_inner())
}

async fn get(store: &TestService, buyer: &Buyer, order_id: &str) -> Result<Order, tonic::Status> {
    let request =
        GetOrderRequest { caller: Some(buyer.caller.clone()), order_id: order_id.to_owned() };
    Ok(store.client().get_order(call(request)).await?.into_inner().order.unwrap())
}

on_both!(
    async fn get_order_returns_the_placed_order(store: &TestService) {
        let buyer = store.register("ada").await;
        let before = store.product(HOODIE).await.version;
        let order = store.buy(&buyer, HOODIE, 2).await;
        assert_eq!(
            (order.user_id.as_str(), order.product_id, order.quantity),
            (buyer.user.id.as_str(), HOODIE, 2)
        );
        assert_eq!(
            (order.unit_price_cents, order.total_price_cents, order.currency.as_str()),
            (4999, 9998, "CNY")
        );
        assert_eq!(
            (order.status(), order.version, order.cancelled_at),
            (OrderStatus::Placed, 1, None)
        );
        assert_eq!(get(store, &buyer, &order.id).await.unwrap(), order);
        assert_eq!(
            list(store, &buyer, 10, "", OrderStatus::Unspecified).await.unwrap().orders,
            [order]
        );
        let product = store.product(HOODIE).await;
        assert_eq!((product.stock, product.version), (498, before + 1));
    }
);

on_both!(
    async fn single_item_pages_list_all_orders_newest_first(store: &TestService) {
        let (ada, bob) = (store.register("ada").await, store.register("bob").await);
        let mut bought = vec![];
        for n in 0..7 {
            bought.push(store.buy(&ada, 1 + n % 3, 1).await.id);
            store.buy(&bob, HOODIE, 1).await;
        }
        let ordered = {
            let mut sorted = bought.clone();
            sorted.sort();
            sorted == bought
        };
        assert!(ordered, "ids grow with time");
        bought.reverse();
        for id in &bought[1..4] {
            store.cancel(&ada, id).await.unwrap();
        }
        let cases = [
            (OrderStatus::Unspecified, bought.clone()),
            (OrderStatus::Cancelled, bought[1..4].to_vec()),
            (OrderStatus::Placed, [&bought[..1], &bought[4..]].concat()),
        ];
        for (status, expected) in cases {
            let (mut seen, mut token) = (vec![], String::new());
            loop {
                let asked = if token.is_empty() { status } else { OrderStatus::Unspecified };
                let page = list(store, &ada, 1, &token, asked).await.unwrap();
                assert_eq!(page.orders.len(), 1);
                seen.extend(page.orders.into_iter().map(|order| order.id));
                token = page.next_page_token;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(seen, expected);
        }
        let empty = list(store, &store.register("eve").await, 100, "", OrderStatus::Unspecified)
            .await
            .unwrap();
        assert_eq!((empty.orders.len(), empty.next_page_token.as_str()), (0, ""));
    }
);

on_both!(
    async fn invalid_order_page_is_refused(store: &TestService) {
        let buyer = store.register("ada").await;
        for _ in 0..2 {
            store.buy(&buyer, HOODIE, 1).await;
        }
        let token = list(store, &buyer, 1, "", OrderStatus::Placed).await.unwrap().next_page_token;
        list(store, &buyer, 1, &token, OrderStatus::Placed).await.unwrap();
        let invalid = error(Code::InvalidArgument, ErrorReason::InvalidPageToken);
        assert_eq!(error_of(list(store, &buyer, 1, &token, OrderStatus::Cancelled).await), invalid);
        let products =
            ListProductsRequest { page_size: 1, page_token: String::new(), category: None };
        let others = store
            .client()
            .list_products(call(products))
            .await
            .unwrap()
            .into_inner()
            .next_page_token;
        assert_eq!(
            error_of(list(store, &buyer, 1, &others, OrderStatus::Unspecified).await),
            invalid
        );
        let products = ListProductsRequest { page_size: 1, page_token: token, category: None };
        assert_eq!(error_of(store.client().list_products(call(products)).await), invalid);

        let request =
            ListOrdersRequest { caller: None, page_size: 0, page_token: String::new(), status: 9 };
        assert_eq!(
            invalid_fields(store.client().list_orders(call(request)).await),
            ["caller", "page_size", "status"]
        );
        let caller = Some(Caller {
            user_id: "urn:uuid:01890000-0000-7000-8000-000000000000".into(),
            token_version: 1,
        });
        let request = GetOrderRequest { caller, order_id: "7".into() };
        assert_eq!(
            invalid_fields(store.client().get_order(call(request)).await),
            ["caller.user_id", "order_id"]
        );
    }
);

on_both!(
    async fn orders_of_other_users_are_not_found(store: &TestService) {
        let (ada, bob) = (store.register("ada").await, store.register("bob").await);
        let order = store.buy(&ada, HOODIE, 1).await;
        let missing = error(Code::NotFound, ErrorReason::OrderNotFound);
        for (buyer, id) in
            [(&bob, order.id.as_str()), (&ada, "01890000-0000-7000-8000-000000000000")]
        {
            assert_eq!(error_of(get(store, buyer, id).await), missing);
            assert_eq!(error_of(store.cancel(buyer, id).await), missing);
        }
        assert_eq!(get(store, &ada, &order.id).await.unwrap(), order);
        assert_eq!(store.product(HOODIE).await.stock, 499);
    }
);

on_both!(
    async fn cancelling_twice_restocks_once(store: &TestService) {
        let buyer = store.register("ada").await;
        let before = store.product(HOODIE).await.version;
        let order = store.buy(&buyer, HOODIE, 3).await;
        let cancelled = store.cancel(&buyer, &order.id).await.unwrap();
        assert_eq!((cancelled.status(), cancelled.version), (OrderStatus::Cancelled, 2));
        assert!(cancelled.cancelled_at.is_some());
        assert_eq!(
            Order { status: order.status, cancelled_at: None, version: 1, ..cancelled.clone() },
            order
        );
        let product = store.product(HOODIE).await;
        assert_eq!((product.stock, product.version), (500, before + 2));

        assert_eq!(store.cancel(&buyer, &order.id).await.unwrap(), cancelled);
        assert_eq!(store.product(HOODIE).await, product);
        assert_eq!(get(store, &buyer, &order.id).await.unwrap(), cancelled);
        let event = store.events().await.pop().unwrap();
        assert_eq!(
            (event.event.as_str(), event.subject),
            ("order_cancelled", format!("order:{}", order.id))
        );
        assert_eq!(
            store.event_names().await,
            ["user_registered", "order_placed", "order_cancelled"]
        );
    }
);

on_both!(
    async fn concurrent_cancellations_restock_once(store: &TestService) {
        let buyer = store.register("ada").await;
        let order = store.buy(&buyer, HOODIE, 3).await;
        let cancels: Vec<_> = (0..16)
            .map(|_| {
                let request = CancelOrderRequest {
                    context: context(),
                    caller: Some(buyer.caller.clone()),
                    order_id: order.id.clone(),
                };
                let mut client = store.client();
                tokio::spawn(async move {
                    client.cancel_order(call(request)).await.unwrap().into_inner().order.unwrap()
                })
            })
            .collect();
        let mut answers = vec![];
        for cancel in cancels {
            answers.push(cancel.await.unwrap());
        }
        assert!(
            answers
                .iter()
                .all(|answer| answer == &answers[0] && answer.status() == OrderStatus::Cancelled)
        );
        assert_eq!(store.product(HOODIE).await.stock, 500);
        assert_eq!(
            store.event_names().await,
            ["user_registered", "order_placed", "order_cancelled"]
        );
    }
);
