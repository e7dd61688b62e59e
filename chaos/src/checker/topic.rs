//! Promise 4: the events of the topic and the changes agree.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::{
    Report,
    facts::{Facts, Outcome, outcome, status},
};
use crate::{
    books::Record,
    history::{Call, Order},
};

/// Each event once, in the order of its first record.
struct Topic<'a> {
    events: Vec<&'a Record>,
    by_subject: HashMap<(&'a str, &'a str), Vec<&'a Record>>,
    by_request: HashMap<(&'a str, &'a str), Vec<&'a Record>>,
}

impl<'a> Topic<'a> {
    fn new(facts: &Facts<'a>, report: &mut Report) -> Self {
        let mut records: Vec<&Record> = facts.books.topic.iter().collect();
        records.sort_by_key(|record| (record.partition, record.offset));
        let mut first = HashMap::<&str, &Record>::new();
        let mut topic =
            Self { events: Vec::new(), by_subject: HashMap::new(), by_request: HashMap::new() };
        for record in records {
            if let Some(first) = first.get(record.id.as_str()) {
                report.totals.repeated += 1;
                if !first.is_same_event(record) {
                    let what = format!("event {} is on the topic with two contents", record.id);
                    report.add(4, [], what);
                }
                continue;
            }
            first.insert(&record.id, record);
            topic.events.push(record);
            let (name, subject) = (record.event.as_str(), record.subject.as_str());
            topic.by_subject.entry((name, subject)).or_default().push(record);
            let request = (name, record.request_id.as_str());
            topic.by_request.entry(request).or_default().push(record);
        }
        report.totals.events = topic.events.len();
        topic
    }

    fn of<'b>(&'b self, event: &'b str, subject: &'b str) -> &'b [&'a Record] {
        self.by_subject.get(&(event, subject)).map_or(&[], Vec::as_slice)
    }

    fn of_request<'b>(&'b self, event: &'b str, request: &'b str) -> &'b [&'a Record] {
        self.by_request.get(&(event, request)).map_or(&[], Vec::as_slice)
    }
}

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    let topic = Topic::new(facts, report);
    changes(facts, report, &topic);
    unfounded(facts, report, &topic);
    restocks(facts, report, &topic);
    sessions(facts, report, &topic);
    refusals(facts, report, &topic);
    order(facts, report, &topic);
    let tables = &facts.books.tables;
    let arrived: BTreeSet<&str> = topic.events.iter().map(|event| event.id.as_str()).collect();
    for id in &tables.outbox {
        if !arrived.contains(id.to_string().as_str()) {
            report.add(4, [], format!("event {id} of the outbox is not on the topic"));
        }
    }
    let named = topic.events.iter().filter(|event| event.event == "event_dead_lettered").count();
    if tables.dead_letters > 0 || named > 0 {
        let letters = tables.dead_letters;
        report.add(4, [], format!("{letters} dead letters in the outbox, {named} on the topic"));
    }
}

/// Requires between `least` and `most` events.
fn require(
    report: &mut Report,
    topic: &Topic<'_>,
    event: &str,
    subject: &str,
    least: usize,
    most: usize,
) {
    let count = topic.of(event, subject).len();
    if count < least || count > most {
        let what = format!("{count} different {event} of {subject} are on the topic, not {most}");
        report.add(4, [], what);
    }
}

fn changes(facts: &Facts<'_>, report: &mut Report, topic: &Topic<'_>) {
    let tables = &facts.books.tables;
    for (id, stored) in &tables.orders {
        let subject = format!("order:{id}");
        let is_cancelled = usize::from(stored.order.cancelled);
        let undone = facts.cancels.get(id).map_or(0, |it| it.undone_by.count_ones() as usize);
        require(report, topic, "order_placed", &subject, 1, 1);
        let most = is_cancelled + undone;
        require(report, topic, "order_cancelled", &subject, is_cancelled, most);
        let events = ["order_placed", "order_cancelled"];
        for event in events.iter().flat_map(|event| topic.of(event, &subject)) {
            if !describes(event, &stored.order) {
                let (name, attributes) = (&event.event, &event.attributes);
                let what = format!(
                    "{name} of {subject} by {} says {attributes:?}; the order is {:?}",
                    event.actor, stored.order
                );
                report.add(4, [], what);
            }
        }
    }
    for user in tables.users.keys() {
        require(report, topic, "user_registered", &format!("user:{user}"), 1, 1);
    }
}

fn describes(event: &Record, order: &Order) -> bool {
    let has = |name: &str, value: i64| event.attributes.get(name) == Some(&value.to_string());
    has("product_id", order.product)
        && has("quantity", order.quantity)
        && has("total_price_cents", order.quantity * order.unit_price_cents)
        && event.actor == format!("user:{}", order.user)
}

/// Only a restore leaves events without their changes.
fn unfounded(facts: &Facts<'_>, report: &mut Report, topic: &Topic<'_>) {
    let tables = &facts.books.tables;
    let id = |subject: &str| subject.split_once(':').and_then(|(_, id)| id.parse::<Uuid>().ok());
    let undone_registration = facts
        .operations()
        .any(|(_, op)| matches!(op.call, Call::Register { .. }) && facts.undone_by(op) != 0);
    for event in &topic.events {
        let is_founded = match (event.event.as_str(), id(&event.subject)) {
            ("order_placed" | "order_cancelled", Some(order)) => {
                let number = |name: &str| event.attributes.get(name).and_then(|it| it.parse().ok());
                let removed = id(&event.actor).zip(number("product_id")).zip(number("quantity"));
                tables.orders.contains_key(&order)
                    || removed.is_some_and(|((user, product), quantity)| {
                        facts.removable.contains(&(user, product, quantity))
                    })
            }
            ("user_registered", Some(user)) => {
                tables.users.contains_key(&user) || undone_registration
            }
            ("order_placed" | "order_cancelled" | "user_registered", None) => false,
            _ => true,
        };
        if !is_founded {
            let (name, subject) = (&event.event, &event.subject);
            let what = format!("{name} of {subject} is on the topic, and that did not happen");
            report.add(4, [], what);
        }
    }
}

fn restocks(facts: &Facts<'_>, report: &mut Report, topic: &Topic<'_>) {
    let mut keys = BTreeMap::<&str, (i64, i64, bool)>::new();
    for (_, op) in facts.operations() {
        if let Call::Restock { product, pieces, key } = &op.call {
            let undone = keys.entry(key).or_insert((*product, *pieces, false));
            undone.2 |= facts.undone_by(op) != 0;
        }
    }
    // The least and the greatest number of events, by product and pieces.
    let mut expected = BTreeMap::<(String, String), (usize, usize, usize)>::new();
    for (key, (product, pieces, undone)) in keys {
        let stored = usize::from(facts.books.tables.restocks.contains_key(key) && pieces != 0);
        let kind = (format!("product:{product}"), pieces.to_string());
        let (least, most, _) = expected.entry(kind).or_default();
        (*least, *most) = (*least + stored, *most + stored + usize::from(undone));
    }
    for event in topic.events.iter().filter(|event| event.event == "product_restocked") {
        let pieces = event.attributes.get("difference").cloned().unwrap_or_default();
        expected.entry((event.subject.clone(), pieces)).or_default().2 += 1;
    }
    for ((subject, pieces), (least, most, count)) in expected {
        if count < least || count > most {
            let what = format!(
                "{count} product_restocked of {subject} with {pieces} pieces are on the topic, not \
                 {most}"
            );
            report.add(4, [], what);
        }
    }
}

/// Each log-in and log-out has its event.
fn sessions(facts: &Facts<'_>, report: &mut Report, topic: &Topic<'_>) {
    let mut possible = BTreeMap::<(&str, Uuid), usize>::new();
    for (index, op) in facts.operations() {
        let (event, user) = match &op.call {
            Call::LogIn { user, .. } => ("user_logged_in", *user),
            Call::LogOut { token } => ("user_logged_out", token.user),
            _ => continue,
        };
        *possible.entry((event, user)).or_default() += usize::from(outcome(op) != Outcome::Refused);
        let Some(response) = op.response.as_ref().filter(|_| outcome(op) == Outcome::Done) else {
            continue;
        };
        let count = topic.of_request(event, &response.request_id).len();
        if count > 1 || count == 0 && facts.undone_by(op) == 0 {
            let what =
                format!("{count} {event} of request {} are on the topic", response.request_id);
            report.add(4, [index], what);
        }
    }
    for ((event, user), most) in possible {
        require(report, topic, event, &format!("user:{user}"), 0, most);
    }
}

/// Each 401 has its event, or was counted.
fn refusals(facts: &Facts<'_>, report: &mut Report, topic: &Topic<'_>) {
    let mut missing = BTreeMap::<&str, Vec<usize>>::new();
    for (index, op) in facts.operations().filter(|(_, op)| status(op) == 401) {
        let Some(response) = &op.response else { continue };
        let event = match &op.call {
            Call::LogIn { .. } | Call::WrongPassword { .. } => "log_in_failed",
            _ => "token_refused",
        };
        match topic.of_request(event, &response.request_id).len() {
            0 => missing.entry(event).or_default().push(index),
            1 => {}
            count => {
                let what = format!("{count} {event} of one request are on the topic");
                report.add(4, [index], what);
            }
        }
    }
    for (name, operations) in missing {
        let summaries = topic.events.iter().filter(|event| {
            event.event == "refusals_summarised"
                && event.attributes.get("event").is_some_and(|counted| counted == name)
        });
        let counts =
            summaries.filter_map(|event| event.attributes.get("count")?.parse::<usize>().ok());
        let counted: usize = counts.sum();
        if operations.len() > counted {
            let what = format!(
                "{} requests got 401 and have no {name} on the topic; summaries count {counted}",
                operations.len()
            );
            report.add(4, operations, what);
        }
    }
}

/// The events of one source about a subject are in one partition, in the order of their causes.
fn order(facts: &Facts<'_>, report: &mut Report, topic: &Topic<'_>) {
    let answered = facts.operations().filter_map(|(index, op)| {
        let request = op.response.as_ref().map(|response| response.request_id.as_str());
        Some((request.filter(|id| !id.is_empty())?, index))
    });
    let answered: HashMap<&str, usize> = answered.collect();
    let mut partitions = HashMap::<&str, i32>::new();
    let mut newest = HashMap::<(&str, &str, &str), usize>::new();
    let mut seen = HashMap::<(&str, &str), &str>::new();
    for event in &topic.events {
        let subject = event.subject.as_str();
        if !subject.starts_with("user:") && !subject.starts_with("order:") {
            continue;
        }
        if *partitions.entry(subject).or_insert(event.partition) != event.partition {
            report.add(4, [], format!("events of {subject} are in two partitions"));
        }
        let service = event.service.as_str();
        let is_first = matches!(event.event.as_str(), "user_registered" | "order_placed");
        if let Some(earlier) = seen.insert((subject, service), &event.event)
            && is_first
            && service == "db"
        {
            let what = format!("{earlier} of {subject} is on the topic before {}", event.event);
            report.add(4, [], what);
        }
        let Some(index) = answered.get(event.request_id.as_str()) else { continue };
        let instance = if service == "db" { "" } else { event.instance.as_str() };
        let newest = newest.entry((subject, service, instance)).or_insert(*index);
        if facts.op(*index).ended < facts.op(*newest).began {
            let what = format!(
                "{} of {subject} is on the topic after the event of a later request",
                event.event
            );
            report.add(4, [*newest, *index], what);
        }
        if facts.op(*index).began > facts.op(*newest).began {
            *newest = *index;
        }
    }
}
