//! A planted violation of each promise but 7 is found.

use super::*;

#[test]
fn each_violation_is_found() {
    assert_found(
        little_history,
        &[
            (1, "was placed in a response and is absent in the tables", |h, b| {
                let id = stored(&b.tables, h, KEYED);
                b.tables.orders.remove(&id);
            }),
            (1, "has other content in a response", |h, _| ordered(h, KEYED).unit_price_cents += 1),
            (1, "other orders than the request asked for", |h, b| {
                let id = stored(&b.tables, h, UNKEYED);
                ordered(h, UNKEYED).quantity = 3;
                b.tables.orders.get_mut(&id).unwrap().order.quantity = 3;
            }),
            (1, "only 0 attempts without a key got no response", |h, b| {
                let mut row = b.tables.orders[&ordered(h, KEYED).id].clone();
                row.order.id = Uuid::from_u128(999);
                b.tables.orders.insert(row.order.id, row);
            }),
            (1, "only 1 attempts without a key got no response", |_, b| {
                let mut row = b.tables.orders[&unobserved(&b.tables)].clone();
                row.order.id = Uuid::from_u128(999);
                b.tables.orders.insert(row.order.id, row);
            }),
            (1, "no attempt with key unknown can have placed it", |_, b| {
                let (id, user) = (unobserved(&b.tables), *b.tables.users.keys().next().unwrap());
                b.tables.keys.insert((user, "unknown".to_owned()), id);
            }),
            (1, "two requests that are no repetitions got the same order", |h, _| {
                h.operations[UNKEYED].response = h.operations[KEYED].response.clone();
            }),
            (1, "and no client cancelled it", |_, b| {
                let id = unobserved(&b.tables);
                b.tables.orders.get_mut(&id).unwrap().order.cancelled = true;
            }),
            (1, "is cancelled before a client cancelled it", |h, _| {
                let began = h.operations[LOST].began;
                (h.operations[CANCEL].began, h.operations[CANCEL].ended) = (began, began);
            }),
            (1, "was cancelled in a response and is placed in the tables", |h, b| {
                let id = ordered(h, CANCEL).id;
                b.tables.orders.get_mut(&id).unwrap().order.cancelled = false;
            }),
            (1, "other orders than the request asked for", |h, _| {
                ordered(h, CANCEL).cancelled = false
            }),
            (1, "which no client had sent", |h, _| {
                let began = h.operations[LOST].began;
                (h.operations[UNKEYED].began, h.operations[UNKEYED].ended) = (began, began);
            }),
            (2, "1 were refused", |h, _| {
                h.operations[LOST].response = Some(Response { status: 409, ..Response::default() });
            }),
            (2, "no attempt with key refused can have placed it", |_, b| {
                let (id, user) = (unobserved(&b.tables), *b.tables.users.keys().next().unwrap());
                b.tables.keys.insert((user, "refused".to_owned()), id);
            }),
            (2, "the last attempt with key key got 409", |h, _| {
                for index in [KEYED, LIST, LAST_LIST, GET] {
                    h.operations[index].response = None;
                }
                // The first attempt is not in flight any more.
                h.operations[KEYED].ended = h.operations[KEYED].began;
                h.operations[REPEATED].began += Duration::from_millis(200);
                refuse(h, REPEATED, 409, "out_of_stock");
            }),
            (2, "and then 409", |h, _| refuse(h, REPEATED, 409, "out_of_stock")),
            (2, "returned orders", |h, _| {
                h.operations[REPEATED].response = h.operations[UNKEYED].response.clone();
            }),
            (2, "and has no order in the tables", |_, b| b.tables.keys.clear()),
            (2, "two keys of user", |_, b| {
                let (key, id) = b.tables.keys.first_key_value().unwrap();
                let (user, id) = (key.0, *id);
                b.tables.keys.insert((user, "other".to_owned()), id);
            }),
            (2, "at least 2 pieces were left", |h, _| {
                if let Call::Place { quantity, .. } = &mut h.operations[SOLD_OUT].call {
                    *quantity = 2;
                }
            }),
            (
                3,
                "product 1 has 13 pieces in stock and 3 in placed orders; 15 were delivered",
                |_, b| *b.tables.stock.get_mut(&1).unwrap() += 1,
            ),
            (3, "product 2 has -1 pieces", |_, b| {
                b.tables.stock.insert(2, -1);
                b.seeded.insert(2, -1);
            }),
            (3, "product 3 has 1 pieces", |_, b| {
                b.tables.stock.insert(3, 1);
            }),
            (3, "a snapshot of primary", |_, b| {
                b.snapshots[0].restocks.as_mut().unwrap().insert(1, 4);
            }),
            (3, "has -1 pieces of product 2 in stock and 3 in placed", |_, b| {
                b.snapshots[0].stock.insert(2, -1);
                b.snapshots[0].placed.insert(2, 3);
            }),
            // The sum over all products is right.
            (3, "has 1 pieces of product 2 in stock and 0 in placed orders; 2", |_, b| {
                *b.snapshots[0].stock.get_mut(&1).unwrap() += 1;
                *b.snapshots[0].stock.get_mut(&2).unwrap() -= 1;
            }),
            (3, "of product 3 in stock", |_, b| {
                b.snapshots[0].stock.insert(3, 1);
            }),
            (3, "key restock added 10 pieces", |_, b| {
                b.tables.restocks.insert("restock".to_owned(), 10);
            }),
            (3, "key other added 5 pieces", |_, b| {
                b.tables.restocks.insert("other".to_owned(), 5);
            }),
            (4, "0 different order_placed", |_, b| lose(b, "order_placed")),
            (4, "0 different order_cancelled", |_, b| lose(b, "order_cancelled")),
            (4, "0 different user_registered", |_, b| lose(b, "user_registered")),
            (4, "0 product_restocked of product:1 with 5 pieces", |_, b| {
                lose(b, "product_restocked")
            }),
            (4, "0 user_logged_in of request", |_, b| lose(b, "user_logged_in")),
            (4, "0 user_logged_out of request", |_, b| lose(b, "user_logged_out")),
            (4, "2 requests got 401 and have no token_refused", |_, b| lose(b, "token_refused")),
            (4, "1 requests got 401 and have no log_in_failed", |_, b| lose(b, "log_in_failed")),
            (4, "2 different order_placed", |_, b| {
                repeat(b, "order_placed");
            }),
            (4, "2 different order_cancelled", |_, b| {
                repeat(b, "order_cancelled");
            }),
            (4, "2 different user_registered", |_, b| {
                repeat(b, "user_registered");
            }),
            (4, "2 product_restocked of product:1", |_, b| {
                repeat(b, "product_restocked");
            }),
            (4, "2 token_refused of one request", |_, b| {
                repeat(b, "token_refused");
            }),
            (4, "3 different user_logged_in", |_, b| {
                repeat(b, "user_logged_in").request_id.clear();
            }),
            (4, "and that did not happen", |_, b| {
                let order = Uuid::from_u128(999);
                repeat(b, "order_placed").subject = format!("order:{order}");
            }),
            (4, "and that did not happen", |_, b| {
                let user = Uuid::from_u128(999);
                repeat(b, "user_registered").subject = format!("user:{user}");
            }),
            (4, "1 different order_cancelled", |h, b| {
                let order = ordered(h, KEYED).id;
                repeat(b, "order_cancelled").subject = format!("order:{order}");
            }),
            (4, "1 product_restocked of product:1 with 7 pieces", |_, b| {
                let pieces = "7".to_owned();
                repeat(b, "product_restocked").attributes.insert("difference".to_owned(), pieces);
            }),
            (4, "says {", |_, b| {
                let quantity = "9".to_owned();
                find(b, "order_placed").attributes.insert("quantity".to_owned(), quantity);
            }),
            (4, "says {", |_, b| {
                find(b, "order_placed").attributes.remove("total_price_cents");
            }),
            (4, "order_cancelled of order:", |_, b| find(b, "order_cancelled").actor.clear()),
            (4, "is on the topic with two contents", |_, b| {
                let id = find(b, "order_placed").id.clone();
                let record = repeat(b, "order_placed");
                (record.id, record.time) = (id, "later".to_owned());
            }),
            (4, "is on the topic before order_placed", |h, b| {
                let subject = format!("order:{}", ordered(h, CANCEL).id);
                let own = |record: &&mut Record| record.subject == subject;
                for record in b.topic.iter_mut().filter(own) {
                    record.offset = -record.offset;
                }
            }),
            (4, "after the event of a later request", |_, b| {
                find(b, "user_logged_out").offset = 1_000
            }),
            (4, "are in two partitions", |_, b| find(b, "order_cancelled").partition += 1),
            (4, "of the outbox is not on the topic", |_, b| {
                b.tables.outbox.insert(Uuid::nil());
            }),
            (4, "1 dead letters in the outbox", |_, b| b.tables.dead_letters = 1),
            (4, "1 on the topic", |_, b| {
                repeat(b, "token_refused").event = "event_dead_lettered".to_owned();
            }),
            (5, "before a read began that returned it as absent", |h, _| {
                refuse(h, GET, 404, "order_not_found")
            }),
            (5, "before a read began that returned it as absent", |h, _| {
                refuse(h, CANCEL, 404, "order_not_found")
            }),
            (5, "before a read began that returned it as placed", |h, _| {
                ordered(h, GET_CANCELLED).cancelled = false;
            }),
            (5, "before a read began that returned it as absent", |h, _| {
                response(h, LIST).orders.truncate(1)
            }),
            (5, "before a read began that returned it as placed", |h, _| {
                response(h, LIST).orders[0].cancelled = false
            }),
            (5, "other orders than the request asked for", |h, _| {
                response(h, LIST).orders.reverse()
            }),
            (5, "has other content in a response", |h, _| ordered(h, GET).unit_price_cents += 1),
            (5, "other orders than the request asked for", |h, _| {
                h.operations[GET].response = h.operations[GET_CANCELLED].response.clone();
            }),
            (5, "a read returned the products [] instead of [1]", |h, _| {
                response(h, PRODUCT).products.clear()
            }),
            (5, "a read returned the products [2] instead of [1]", |h, _| {
                response(h, PRODUCT).products[0].id = 2
            }),
            (5, "a read returned the products [1] instead of [1, 2]", |h, _| {
                response(h, PRODUCTS).products.truncate(1)
            }),
            (5, "a read returned the products [1, 1, 2] instead of [1, 2]", |h, _| {
                let products = &mut response(h, PRODUCTS).products;
                products.push(products[0].clone());
            }),
            (5, "a read of product 1 began after version", |h, _| {
                response(h, PRODUCT_AGAIN).version = Some(1)
            }),
            (5, "began after version", |h, _| {
                response(h, GET_CANCELLED).version = Some(1);
            }),
            (5, "of product 1 has two contents", |h, _| {
                response(h, PRODUCT_AGAIN).version = response(h, PRODUCT).version;
            }),
            (5, "a read returned 7 pieces", |h, _| response(h, PRODUCT).products[0].stock -= 1),
            // Only a later version that was read meanwhile shows that this stock came too late.
            (5, "a read returned 13 pieces", |h, _| {
                h.operations[PRODUCT].ended = seconds(30);
                response(h, PRODUCT).products[0].stock = 13;
                let later = &mut h.operations[PRODUCT_AGAIN];
                later.began = seconds(11) + Duration::from_millis(100);
                later.ended = seconds(11) + Duration::from_millis(200);
                response(h, PRODUCT_AGAIN).products[0].stock = 8;
            }),
            (5, "a read returned 9 pieces", |h, _| response(h, PRODUCT).products[0].stock += 1),
            (5, "a read returned 8 pieces", |h, _| response(h, PRODUCTS).products[0].stock -= 5),
            (6, "and accepted with 200", |h, _| {
                h.operations[REVOKED].response = h.operations[GET].response.clone();
            }),
            (6, "and accepted with 404", |h, _| refuse(h, REVOKED, 404, "order_not_found")),
            (6, "got 401, and nothing revoked it", |h, _| refuse(h, GET, 401, "token_invalid")),
            (6, "a log-in with the right password got 401", |h, _| {
                refuse(h, LOG_IN, 401, "invalid_credentials")
            }),
            (6, "a forged token or a wrong password got 200", |h, _| {
                response(h, FORGED).status = 200
            }),
            (6, "a forged token or a wrong password got 200", |h, _| {
                response(h, WRONG_PASSWORD).status = 200
            }),
            (8, "user ada got 201 and is None", |_, b| b.tables.users.clear()),
            (8, "user ada got 201 and is Some", |_, b| {
                b.tables.users.values_mut().for_each(|name| name.push('x'));
            }),
            (8, "was confirmed and is None", |_, b| b.tables.restocks.clear()),
        ],
    );
}

#[test]
fn each_violation_of_a_restore_is_found() {
    assert_found(
        restored_history,
        &[
            (8, "is absent in the tables", |h, b| {
                let id = stored(&b.tables, h, 2);
                b.tables.orders.remove(&id);
            }),
            (8, "is absent in the tables", |h, b| {
                let id = stored(&b.tables, h, 7);
                b.tables.orders.remove(&id);
            }),
            (8, "has two contents", |h, _| {
                response(h, 8).version = response(h, 3).version;
            }),
            (8, "is absent in the tables", |h, b| {
                let id = ordered(h, 5).id;
                b.tables.orders.remove(&id);
                h.faults[0].restored = Some((seconds(30), seconds(31)));
            }),
            (1, "is absent in the tables", |h, _| {
                h.faults[0].what = "promote standby".to_owned();
                h.faults[0].restored = None;
            }),
            (6, "and accepted with 201", |h, _| {
                if let Call::Place { token, .. } = &mut h.operations[7].call {
                    token.log_in = 0;
                }
            }),
        ],
    );
    let (history, books) = restored_history();
    assert_eq!(check(&history, &books).totals.lost, 1);
}
