use super::*;

const BUYER: Uuid = Uuid::from_u128(1);

fn order(quantity: i32, key: Option<&str>) -> NewOrder {
    let caller = Caller { user_id: BUYER, token_version: 1 };
    NewOrder {
        context: Context::default(),
        caller,
        product_id: 1,
        quantity,
        idempotency_key: key.map(str::to_owned),
        deadline: None,
    }
}

fn snapshot(stock: i32) -> BatchSnapshot {
    BatchSnapshot {
        callers: [(BUYER, (1, true))].into(),
        keys: HashMap::new(),
        stock: [(1, stock)].into(),
        newest_order: None,
    }
}

fn decide_all(orders: &[NewOrder], snapshot: &mut BatchSnapshot) -> Vec<Decision> {
    decide(
        &orders.iter().collect::<Vec<_>>(),
        &vec![Some(Duration::MAX); orders.len()],
        snapshot,
        &mut Uuid::now_v7,
    )
}

#[test]
fn last_pieces_go_to_the_first_orders_that_fit() {
    let decisions = decide_all(
        &[order(2, None), order(2, None), order(1, None), order(1, None)],
        &mut snapshot(3),
    );
    assert!(matches!(
        decisions.as_slice(),
        [
            Decision::Place(first),
            Decision::Refuse(ErrorReason::OutOfStock),
            Decision::Place(second),
            Decision::Refuse(ErrorReason::OutOfStock)
        ] if first < second
    ));
}

#[test]
fn repeated_key_in_a_batch_replays_the_first_order() {
    let decisions = decide_all(
        &[order(1, Some("k")), order(1, Some("k")), order(2, Some("k"))],
        &mut snapshot(3),
    );
    assert!(matches!(
        decisions.as_slice(),
        [
            Decision::Place(_),
            Decision::Repeat(0),
            Decision::Refuse(ErrorReason::IdempotencyKeyReused)
        ]
    ));
}

#[test]
fn refused_order_leaves_its_key_unused() {
    let decisions = decide_all(&[order(3, Some("k")), order(1, Some("k"))], &mut snapshot(2));
    assert!(matches!(
        decisions.as_slice(),
        [Decision::Refuse(ErrorReason::OutOfStock), Decision::Place(_)]
    ));
}

#[test]
fn expired_order_takes_no_stock_and_no_key() {
    let orders = [order(2, Some("k")), order(2, Some("k")), order(1, None)];
    let decisions = decide(
        &orders.iter().collect::<Vec<_>>(),
        &[None, Some(Duration::MAX), Some(Duration::MAX)],
        &mut snapshot(3),
        &mut Uuid::now_v7,
    );
    assert!(
        matches!(
            decisions.as_slice(),
            [Decision::Refuse(ErrorReason::OrderExpired), Decision::Place(_), Decision::Place(_)]
        ),
        "{decisions:?}"
    );
}

#[test]
fn revoked_token_is_checked_first() {
    let mut revoked = order(1, None);
    revoked.caller.token_version = 0;
    revoked.product_id = 99;
    assert_eq!(
        decide_all(&[revoked], &mut snapshot(3)),
        [Decision::Refuse(ErrorReason::TokenRevoked)]
    );
}
