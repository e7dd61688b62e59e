//! Compares what clients observed, what PostgreSQL contains, and what a consumer reads from Kafka.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    history::{History, ObservedOrder},
    stack::Stack,
    topic::Topic,
    wait::wait_until,
};

/// The limit for events to arrive once the stack is healthy.
const SHIP_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default)]
pub struct DatabaseState {
    pub orders: BTreeMap<Uuid, ObservedOrder>,
    /// Orders by user and key.
    pub keys: BTreeMap<(Uuid, String), Uuid>,
    pub users: BTreeSet<Uuid>,
    pub stock: BTreeMap<i64, i64>,
    /// Ids of the events in the outbox, shipped or not.
    pub outbox: BTreeSet<Uuid>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Orders that clients observed.
    pub observed: usize,
    /// Orders of these clients in the database.
    pub stored: usize,
    /// Orders that no client observed: their requests had no key and no response.
    pub unobserved: usize,
    pub events: usize,
    pub duplicates: usize,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { observed, stored, unobserved, events, duplicates } = self;
        write!(
            f,
            "{observed} orders observed, {stored} in the database ({unobserved} of them \
             unobserved), {events} events on the topic, {duplicates} duplicates"
        )
    }
}

impl DatabaseState {
    /// Reads the database in one transaction.
    pub async fn read(stack: &Stack) -> Result<Self> {
        let query = "
            SELECT (SELECT coalesce(json_agg(json_build_array(id, user_id, product_id, quantity, status)), '[]') FROM orders) AS orders,
                   (SELECT coalesce(json_agg(json_build_array(user_id, key, order_id)), '[]') FROM idempotency_keys) AS keys,
                   (SELECT coalesce(json_agg(id), '[]') FROM users) AS users,
                   (SELECT coalesce(json_agg(json_build_array(id, stock)), '[]') FROM products) AS stock,
                   (SELECT coalesce(json_agg(id), '[]') FROM outbox) AS outbox";
        let rows = stack.rows(query).await?;
        Self::parse(rows.first().context("one row")?).context("the tables are not as expected")
    }

    fn parse(row: &Value) -> Result<Self> {
        let list = |name: &str| row[name].as_array().with_context(|| name.to_owned());
        let uuid = |value: &Value| {
            value.as_str().and_then(|text| text.parse::<Uuid>().ok()).context("an id")
        };
        let number = |value: &Value| value.as_i64().context("a number");
        let mut database = Self::default();
        for order in list("orders")? {
            let observed = ObservedOrder {
                user: uuid(&order[1])?,
                product: number(&order[2])?,
                quantity: number(&order[3])?,
                cancelled: order[4] == "cancelled",
            };
            database.orders.insert(uuid(&order[0])?, observed);
        }
        for key in list("keys")? {
            database.keys.insert(
                (uuid(&key[0])?, key[1].as_str().context("a key")?.to_owned()),
                uuid(&key[2])?,
            );
        }
        database.users = list("users")?.iter().map(uuid).collect::<Result<_>>()?;
        for product in list("stock")? {
            database.stock.insert(number(&product[0])?, number(&product[1])?);
        }
        database.outbox = list("outbox")?.iter().map(uuid).collect::<Result<_>>()?;
        Ok(database)
    }

    /// Pieces by product, in stock and sold; orders do not change this sum.
    #[must_use]
    pub fn supply(&self) -> BTreeMap<i64, i64> {
        let mut supply = self.stock.clone();
        for order in self.orders.values().filter(|order| !order.cancelled) {
            *supply.entry(order.product).or_default() += order.quantity;
        }
        supply
    }
}

/// Waits until the outbox is empty, so that an event missing on the topic is lost.
pub async fn wait_until_shipped(stack: &Stack) -> Result<Duration> {
    let look = async || {
        let waiting = stack
            .psql("SELECT count(*) FROM outbox WHERE shipped_at IS NULL AND set_aside IS NULL")
            .await?;
        ensure!(waiting == "0", "{waiting} events wait in the outbox");
        Ok(())
    };
    let (_, took) = wait_until("the outbox to be empty", SHIP_TIMEOUT, look).await?;
    let dead_letters =
        stack.psql("SELECT count(*) FROM outbox WHERE set_aside IS NOT NULL").await?;
    ensure!(dead_letters == "0", "{dead_letters} events are dead letters");
    Ok(took)
}

/// Compares everything once all events are shipped.
///
/// `before` is the database before the first order of `history`.
pub async fn check_consistency(
    stack: &Stack,
    history: &History,
    before: &DatabaseState,
) -> Result<Totals> {
    wait_until_shipped(stack).await?;
    let database = DatabaseState::read(stack).await?;
    // The api's journals are not in the database, so their events are awaited on the topic.
    let look = async || {
        let topic = Topic::read(stack).await?;
        let (totals, faults) = compare(history, &database, &topic, before);
        if faults.is_empty() {
            return Ok(totals);
        }
        let shown: Vec<&str> = faults.iter().take(20).map(String::as_str).collect();
        bail!("{totals}; {} differences:\n- {}", faults.len(), shown.join("\n- "));
    };
    Ok(wait_until("responses, tables and topic to agree", Duration::from_secs(20), look).await?.0)
}

/// Returns the totals and all differences.
#[must_use]
pub fn compare(
    history: &History,
    database: &DatabaseState,
    topic: &Topic,
    before: &DatabaseState,
) -> (Totals, Vec<String>) {
    let mut faults = history.faults.clone();
    let new = database.orders.iter().filter(|(id, _)| !before.orders.contains_key(id));
    let stored: BTreeMap<_, _> =
        new.filter(|(_, order)| history.users.contains(&order.user)).collect();
    faults.extend(
        before
            .orders
            .keys()
            .filter(|id| !database.orders.contains_key(id))
            .map(|id| format!("order {id} was in the database and is gone")),
    );
    let unobserved: Vec<_> =
        stored.iter().filter(|(id, _)| !history.orders.contains_key(id)).collect();

    for (id, observed) in &history.orders {
        match database.orders.get(id) {
            None => faults.push(format!("order {id} was answered 201 and is not in the database")),
            Some(order) if order != observed => {
                faults.push(format!("order {id}: observed {observed:?}, stored {order:?}"))
            }
            Some(_) => {}
        }
    }
    // An unobserved order is valid only if a request without a key got no response, once for each.
    let mut unknown = history.unknown.clone();
    for (id, order) in &unobserved {
        let same = |call: &ObservedOrder| {
            (call.user, call.product, call.quantity) == (order.user, order.product, order.quantity)
        };
        match unknown.iter().position(same) {
            Some(position) => drop(unknown.swap_remove(position)),
            None => faults.push(format!(
                "order {id} is in the database and no client observed it: {order:?}"
            )),
        }
    }
    for (user, key) in &history.refused {
        if let Some(id) = database.keys.get(&(*user, key.clone())) {
            faults
                .push(format!("the order of key {key} was refused and is in the database as {id}"));
        }
    }
    for (product, stock) in &database.stock {
        if *stock < 0 {
            faults.push(format!("product {product} is oversold: {stock} left"));
        }
    }
    let (now, then) = (database.supply(), before.supply());
    if now != then {
        faults.push(format!("pieces left and sold: {now:?}, and before {then:?}"));
    }
    faults.extend(missing_events(history, database, topic));
    let totals = Totals {
        observed: history.orders.len(),
        stored: stored.len(),
        unobserved: unobserved.len(),
        events: topic.events.len(),
        duplicates: topic.duplicates,
    };
    (totals, faults)
}

/// Checks that each order, cancellation and user has exactly one event, and each event its order or
/// user.
fn missing_events(history: &History, database: &DatabaseState, topic: &Topic) -> Vec<String> {
    let mut faults = Vec::new();
    let orders = database.orders.iter();
    let expected = [
        (
            "order_placed",
            orders.clone().map(|(id, _)| format!("order:{id}")).collect::<BTreeSet<_>>(),
        ),
        (
            "order_cancelled",
            orders
                .filter(|(_, order)| order.cancelled)
                .map(|(id, _)| format!("order:{id}"))
                .collect(),
        ),
        ("user_registered", database.users.iter().map(|id| format!("user:{id}")).collect()),
    ];
    for (word, subjects) in expected {
        let seen = topic.count_by_subject(word);
        for subject in &subjects {
            match seen.get(subject.as_str()) {
                None => faults.push(format!("no {word} of {subject} is on the topic")),
                Some(1) => {}
                Some(count) => {
                    faults.push(format!("{count} different {word} of {subject} are on the topic"))
                }
            }
        }
        let unfounded = seen.keys().filter(|subject| !subjects.contains(**subject));
        faults.extend(
            unfounded.map(|subject| {
                format!("{word} of {subject} is on the topic and not in the database")
            }),
        );
    }
    let arrived: BTreeSet<&str> = topic.events.iter().map(|event| event.id.as_str()).collect();
    let lost = database.outbox.iter().filter(|id| !arrived.contains(id.to_string().as_str()));
    faults.extend(lost.map(|id| format!("event {id} of the outbox is not on the topic")));
    let refused: BTreeSet<&str> = topic
        .events
        .iter()
        .filter(|event| event.event == "token_refused")
        .map(|event| event.request_id.as_str())
        .collect();
    let unseen = history.unauthorized.iter().filter(|id| !refused.contains(id.as_str()));
    faults.extend(
        unseen.map(|id| {
            format!("request {id} was answered 401 and has no token_refused on the topic")
        }),
    );
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::topic::Event;

    fn event(word: &str, subject: &str, request_id: &str) -> Event {
        Event {
            id: Uuid::new_v4().to_string(),
            event: word.to_owned(),
            subject: subject.to_owned(),
            request_id: request_id.to_owned(),
            ..Event::default()
        }
    }

    /// One user with one order of two pieces out of ten, without differences.
    fn consistent_run() -> (History, DatabaseState, Topic, DatabaseState) {
        let (user, order) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let observed = ObservedOrder { user, product: 1, quantity: 2, cancelled: false };
        let mut history = History::default();
        history.users.insert(user);
        history.placed(order, observed.clone());
        history.unauthorized.push("r1".to_owned());
        let row = json!({
            "orders": [[order, user, 1, 2, "placed"]], "keys": [[user, "k", order]], "users": [user], "stock": [[1, 8]], "outbox": [],
        });
        let database = DatabaseState::parse(&row).unwrap();
        let before = DatabaseState { stock: BTreeMap::from([(1, 10)]), ..DatabaseState::default() };
        let events = vec![
            event("user_registered", &format!("user:{user}"), ""),
            event("order_placed", &format!("order:{order}"), ""),
            event("token_refused", "", "r1"),
        ];
        (history, database, Topic { events, duplicates: 0 }, before)
    }

    type Mutation = fn(&mut History, &mut DatabaseState, &mut Topic);

    #[test]
    fn every_inconsistency_is_detected() {
        let mutations: [(&str, Mutation); 12] = [
            ("not in the database", |_, database, _| database.orders.clear()),
            ("no client observed it", |history, _, _| history.orders.clear()),
            ("observed ObservedOrder", |_, database, _| {
                database.orders.values_mut().for_each(|order| order.quantity = 3)
            }),
            ("observed ObservedOrder", |history, _, _| {
                history.orders.values_mut().for_each(|order| order.cancelled = true)
            }),
            ("was refused and is in the database", |history, _, _| {
                history.refused.push((Uuid::from_u128(1), "k".to_owned()))
            }),
            ("oversold", |_, database, _| {
                database.stock.insert(1, -1);
            }),
            ("pieces left and sold", |_, database, _| {
                database.stock.insert(1, 9);
            }),
            ("no order_placed of order:", |_, _, topic| drop(topic.events.remove(1))),
            ("no user_registered of user:", |_, _, topic| drop(topic.events.remove(0))),
            ("no token_refused", |_, _, topic| drop(topic.events.remove(2))),
            ("2 different order_placed", |_, _, topic| {
                let again = Event { id: "other".to_owned(), ..topic.events[1].clone() };
                topic.events.push(again);
            }),
            ("of the outbox is not on the topic", |_, database, _| {
                database.outbox.insert(Uuid::from_u128(9));
            }),
        ];
        let (history, database, topic, before) = consistent_run();
        let (totals, faults) = compare(&history, &database, &topic, &before);
        assert_eq!(
            (totals, faults),
            (
                Totals { observed: 1, stored: 1, unobserved: 0, events: 3, duplicates: 0 },
                Vec::new()
            )
        );
        for (name, mutate) in mutations {
            let (mut history, mut database, mut topic, before) = consistent_run();
            mutate(&mut history, &mut database, &mut topic);
            let (_, faults) = compare(&history, &database, &topic, &before);
            assert!(faults.iter().any(|fault| fault.contains(name)), "{name}: {faults:?}");
        }
    }

    #[test]
    fn unanswered_order_without_key_may_exist_once() {
        let (mut history, mut database, mut topic, before) = consistent_run();
        let observed = history.orders.values().next().unwrap().clone();
        history.orders.clear();
        history.unknown.push(observed.clone());
        let (totals, faults) = compare(&history, &database, &topic, &before);
        assert_eq!((totals.unobserved, faults), (1, Vec::new()));
        let twice = Uuid::from_u128(3);
        database.orders.insert(twice, observed);
        database.stock.insert(1, 6);
        topic.events.push(event("order_placed", &format!("order:{twice}"), ""));
        assert_eq!(compare(&history, &database, &topic, &before).1.len(), 1);
    }

    #[test]
    fn earlier_orders_must_not_disappear() {
        let (history, database, topic, _) = consistent_run();
        let before = database.clone();
        let (totals, faults) = compare(
            &History { users: history.users, ..History::default() },
            &database,
            &topic,
            &before,
        );
        assert_eq!((totals.stored, totals.unobserved, faults), (0, 0, Vec::new()));
        let gone = DatabaseState { orders: BTreeMap::new(), ..database };
        let (_, faults) = compare(&History::default(), &gone, &topic, &before);
        assert!(faults.iter().any(|fault| fault.contains("and is gone")), "{faults:?}");
    }
}
