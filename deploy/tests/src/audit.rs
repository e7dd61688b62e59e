//! The comparison: what buyers were told, what PostgreSQL holds, and what a plain consumer reads
//! from Kafka have to be one story.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    ledger::{Ledger, Told},
    stack::Stack,
    topic::Topic,
    wait::until,
};

/// How long events may take to arrive once all is well.
const ARRIVE: Duration = Duration::from_secs(60);

/// What PostgreSQL holds.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// All orders.
    pub orders: BTreeMap<Uuid, Told>,
    /// Orders by user and key.
    pub keys: BTreeMap<(Uuid, String), Uuid>,
    /// All users.
    pub users: BTreeSet<Uuid>,
    /// Pieces that are left, by product.
    pub stock: BTreeMap<i64, i64>,
    /// Ids of the events that are still in the outbox, shipped or not.
    pub outbox: BTreeSet<Uuid>,
}

/// What was compared, and how much of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Orders that buyers were told of.
    pub told: usize,
    /// Orders in the database, of these buyers.
    pub held: usize,
    /// Orders that nobody was told of: their calls had no key and no answer.
    pub untold: usize,
    /// Distinct events on the topic.
    pub events: usize,
    /// Records that repeated one.
    pub repeats: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { told, held, untold, events, repeats } = self;
        write!(
            f,
            "{told} orders told, {held} held ({untold} of them never told), {events} events on the topic, {repeats} records repeated one"
        )
    }
}

impl Books {
    /// Reads them in one transaction, so that they are of one moment.
    ///
    /// # Errors
    /// When the database does not answer.
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
        let mut books = Self::default();
        for order in list("orders")? {
            let told = Told {
                user: uuid(&order[1])?,
                product: number(&order[2])?,
                quantity: number(&order[3])?,
                cancelled: order[4] == "cancelled",
            };
            books.orders.insert(uuid(&order[0])?, told);
        }
        for key in list("keys")? {
            books.keys.insert(
                (uuid(&key[0])?, key[1].as_str().context("a key")?.to_owned()),
                uuid(&key[2])?,
            );
        }
        books.users = list("users")?.iter().map(uuid).collect::<Result<_>>()?;
        for product in list("stock")? {
            books.stock.insert(number(&product[0])?, number(&product[1])?);
        }
        books.outbox = list("outbox")?.iter().map(uuid).collect::<Result<_>>()?;
        Ok(books)
    }

    /// Pieces by product: those that are left and those that are sold. Orders do not change it.
    #[must_use]
    pub fn supply(&self) -> BTreeMap<i64, i64> {
        let mut supply = self.stock.clone();
        for order in self.orders.values().filter(|order| !order.cancelled) {
            *supply.entry(order.product).or_default() += order.quantity;
        }
        supply
    }
}

/// Waits until every event has left the outbox and every journal, so that what is not on the topic
/// then is lost.
///
/// # Errors
/// When events still wait after a minute, or some were set aside as nobody can ship them.
pub async fn all_shipped(stack: &Stack) -> Result<Duration> {
    let look = async || {
        let waiting = stack
            .psql("SELECT count(*) FROM outbox WHERE shipped_at IS NULL AND set_aside IS NULL")
            .await?;
        ensure!(waiting == "0", "{waiting} events wait in the outbox");
        Ok(())
    };
    let (_, took) = until("the outbox to be empty", ARRIVE, look).await?;
    let aside = stack.psql("SELECT count(*) FROM outbox WHERE set_aside IS NOT NULL").await?;
    ensure!(aside == "0", "{aside} events were set aside as never to be shipped");
    Ok(took)
}

/// Compares all of it, once every event has been shipped.
///
/// `before` is what the database held before the first order of `ledger`.
///
/// # Errors
/// With every difference, if there is any.
pub async fn audit(stack: &Stack, ledger: &Ledger, before: &Books) -> Result<Figures> {
    all_shipped(stack).await?;
    let books = Books::read(stack).await?;
    // The api's journals are on disks of their own: their events have no table to ask, so they are
    // waited for on the topic.
    let look = async || {
        let topic = Topic::read(stack).await?;
        let (figures, faults) = compare(ledger, &books, &topic, before);
        if faults.is_empty() {
            return Ok(figures);
        }
        let shown: Vec<&str> = faults.iter().take(20).map(String::as_str).collect();
        bail!("{figures}; {} differences:\n- {}", faults.len(), shown.join("\n- "));
    };
    Ok(until("answers, tables and topic to agree", Duration::from_secs(20), look).await?.0)
}

/// Every difference, as a sentence.
#[must_use]
pub fn compare(
    ledger: &Ledger,
    books: &Books,
    topic: &Topic,
    before: &Books,
) -> (Figures, Vec<String>) {
    let mut faults = ledger.faults.clone();
    let new = books.orders.iter().filter(|(id, _)| !before.orders.contains_key(id));
    let held: BTreeMap<_, _> =
        new.filter(|(_, order)| ledger.users.contains(&order.user)).collect();
    faults.extend(
        before
            .orders
            .keys()
            .filter(|id| !books.orders.contains_key(id))
            .map(|id| format!("order {id} was in the database and is gone")),
    );
    let untold: Vec<_> = held.iter().filter(|(id, _)| !ledger.orders.contains_key(id)).collect();

    for (id, told) in &ledger.orders {
        match books.orders.get(id) {
            None => faults.push(format!("order {id} was answered 201 and is not in the database")),
            Some(order) if order != told => {
                faults.push(format!("order {id}: told {told:?}, held {order:?}"))
            }
            Some(_) => {}
        }
    }
    // An order that nobody was told of is right only if a call without a key went unanswered, and
    // only once for each.
    let mut unknown = ledger.unknown.clone();
    for (id, order) in &untold {
        let same = |call: &Told| {
            (call.user, call.product, call.quantity) == (order.user, order.product, order.quantity)
        };
        match unknown.iter().position(same) {
            Some(position) => drop(unknown.swap_remove(position)),
            None => {
                faults.push(format!("order {id} is in the database and nobody was told: {order:?}"))
            }
        }
    }
    for (user, key) in &ledger.refused {
        if let Some(id) = books.keys.get(&(*user, key.clone())) {
            faults.push(format!("the order of key {key} was refused and is held as {id}"));
        }
    }
    for (product, stock) in &books.stock {
        if *stock < 0 {
            faults.push(format!("product {product} is oversold: {stock} left"));
        }
    }
    let (now, then) = (books.supply(), before.supply());
    if now != then {
        faults.push(format!("pieces left and sold: {now:?}, and before {then:?}"));
    }
    faults.extend(missing_events(ledger, books, topic));
    let figures = Figures {
        told: ledger.orders.len(),
        held: held.len(),
        untold: untold.len(),
        events: topic.events.len(),
        repeats: topic.repeats,
    };
    (figures, faults)
}

/// Each order, cancellation and user of the whole database has its one event, and no event speaks
/// of an order that is not there.
fn missing_events(ledger: &Ledger, books: &Books, topic: &Topic) -> Vec<String> {
    let mut faults = Vec::new();
    let orders = books.orders.iter();
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
        ("user_registered", books.users.iter().map(|id| format!("user:{id}")).collect()),
    ];
    for (word, subjects) in expected {
        let seen = topic.by_subject(word);
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
    let lost = books.outbox.iter().filter(|id| !arrived.contains(id.to_string().as_str()));
    faults.extend(lost.map(|id| format!("event {id} of the outbox is not on the topic")));
    let refused: BTreeSet<&str> = topic
        .events
        .iter()
        .filter(|event| event.event == "token_refused")
        .map(|event| event.request_id.as_str())
        .collect();
    let unseen = ledger.unauthorized.iter().filter(|id| !refused.contains(id.as_str()));
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

    /// One buyer with one order of two pieces out of ten, all as it should be.
    fn story() -> (Ledger, Books, Topic, Books) {
        let (user, order) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let told = Told { user, product: 1, quantity: 2, cancelled: false };
        let mut ledger = Ledger::default();
        ledger.users.insert(user);
        ledger.placed(order, told.clone());
        ledger.unauthorized.push("r1".to_owned());
        let row = json!({
            "orders": [[order, user, 1, 2, "placed"]], "keys": [[user, "k", order]], "users": [user], "stock": [[1, 8]], "outbox": [],
        });
        let books = Books::parse(&row).unwrap();
        let before = Books { stock: BTreeMap::from([(1, 10)]), ..Books::default() };
        let events = vec![
            event("user_registered", &format!("user:{user}"), ""),
            event("order_placed", &format!("order:{order}"), ""),
            event("token_refused", "", "r1"),
        ];
        (ledger, books, Topic { events, repeats: 0 }, before)
    }

    type Change = fn(&mut Ledger, &mut Books, &mut Topic);

    #[test]
    fn one_story_agrees_and_each_lie_is_named() {
        let lies: [(&str, Change); 12] = [
            ("not in the database", |_, books, _| books.orders.clear()),
            ("nobody was told", |ledger, _, _| ledger.orders.clear()),
            ("told Told", |_, books, _| {
                books.orders.values_mut().for_each(|order| order.quantity = 3)
            }),
            ("told Told", |ledger, _, _| {
                ledger.orders.values_mut().for_each(|order| order.cancelled = true)
            }),
            ("was refused and is held", |ledger, _, _| {
                ledger.refused.push((Uuid::from_u128(1), "k".to_owned()))
            }),
            ("oversold", |_, books, _| {
                books.stock.insert(1, -1);
            }),
            ("pieces left and sold", |_, books, _| {
                books.stock.insert(1, 9);
            }),
            ("no order_placed of order:", |_, _, topic| drop(topic.events.remove(1))),
            ("no user_registered of user:", |_, _, topic| drop(topic.events.remove(0))),
            ("no token_refused", |_, _, topic| drop(topic.events.remove(2))),
            ("2 different order_placed", |_, _, topic| {
                let again = Event { id: "other".to_owned(), ..topic.events[1].clone() };
                topic.events.push(again);
            }),
            ("of the outbox is not on the topic", |_, books, _| {
                books.outbox.insert(Uuid::from_u128(9));
            }),
        ];
        let (ledger, books, topic, before) = story();
        let (figures, faults) = compare(&ledger, &books, &topic, &before);
        assert_eq!(
            (figures, faults),
            (Figures { told: 1, held: 1, untold: 0, events: 3, repeats: 0 }, Vec::new())
        );
        for (name, lie) in lies {
            let (mut ledger, mut books, mut topic, before) = story();
            lie(&mut ledger, &mut books, &mut topic);
            let (_, faults) = compare(&ledger, &books, &topic, &before);
            assert!(faults.iter().any(|fault| fault.contains(name)), "{name}: {faults:?}");
        }
    }

    #[test]
    fn an_unanswered_order_without_a_key_may_be_there_once() {
        let (mut ledger, mut books, mut topic, before) = story();
        let told = ledger.orders.values().next().unwrap().clone();
        ledger.orders.clear();
        ledger.unknown.push(told.clone());
        let (figures, faults) = compare(&ledger, &books, &topic, &before);
        assert_eq!((figures.untold, faults), (1, Vec::new()));
        let twice = Uuid::from_u128(3);
        books.orders.insert(twice, told);
        books.stock.insert(1, 6);
        topic.events.push(event("order_placed", &format!("order:{twice}"), ""));
        assert_eq!(compare(&ledger, &books, &topic, &before).1.len(), 1);
    }

    #[test]
    fn orders_of_before_are_another_story_but_must_still_be_there() {
        let (ledger, books, topic, _) = story();
        let before = books.clone();
        let (figures, faults) =
            compare(&Ledger { users: ledger.users, ..Ledger::default() }, &books, &topic, &before);
        assert_eq!((figures.held, figures.untold, faults), (0, 0, Vec::new()));
        let gone = Books { orders: BTreeMap::new(), ..books };
        let (_, faults) = compare(&Ledger::default(), &gone, &topic, &before);
        assert!(faults.iter().any(|fault| fault.contains("and is gone")), "{faults:?}");
    }
}
