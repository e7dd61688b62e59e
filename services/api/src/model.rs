//! What the store's use-cases work with, and how it is made of the db service's messages.

use merch_contract::grpc::assistant::v1 as proto;
use pbjson_types::Timestamp;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::CallFailure;

/// A registered buyer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) id: Uuid,
    pub(crate) sid: String,
    pub(crate) username: String,
    pub(crate) email: String,
    pub(crate) active: bool,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) updated_at: OffsetDateTime,
    pub(crate) version: i64,
}

/// Something to buy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) slogan: String,
    pub(crate) description: String,
    pub(crate) price_cents: i64,
    pub(crate) currency: String,
    pub(crate) stock: i32,
    pub(crate) version: i64,
}

/// What has become of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderStatus {
    Placed,
    Cancelled,
}

/// One to three pieces of one product, bought by one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) product_id: i32,
    pub(crate) quantity: i32,
    pub(crate) unit_price_cents: i64,
    pub(crate) total_price_cents: i64,
    pub(crate) currency: String,
    pub(crate) status: OrderStatus,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) cancelled_at: Option<OffsetDateTime>,
    pub(crate) version: i64,
}

/// Some things, and the token that gets the next ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

/// What an answer must hold, as proto3 cannot say so.
pub(crate) fn required<T>(member: Option<T>, broken: &'static str) -> Result<T, CallFailure> {
    member.ok_or(CallFailure::BadAnswer(broken))
}

impl<T> Page<T> {
    /// A page of the db service's messages; an empty token means that there are no more.
    pub(crate) fn of<M>(messages: Vec<M>, next_page_token: String) -> Result<Self, CallFailure>
    where
        T: TryFrom<M, Error = CallFailure>,
    {
        let items = messages.into_iter().map(T::try_from).collect::<Result<_, _>>()?;
        Ok(Self { items, next: (!next_page_token.is_empty()).then_some(next_page_token) })
    }
}

impl TryFrom<proto::User> for User {
    type Error = CallFailure;

    fn try_from(user: proto::User) -> Result<Self, CallFailure> {
        Ok(Self {
            id: id(&user.id)?,
            sid: user.sid,
            username: user.username,
            email: user.email,
            active: user.active,
            created_at: time(required(user.created_at, "a user has no created_at")?)?,
            updated_at: time(required(user.updated_at, "a user has no updated_at")?)?,
            version: version(user.version)?,
        })
    }
}

impl TryFrom<proto::Product> for Product {
    type Error = CallFailure;

    fn try_from(product: proto::Product) -> Result<Self, CallFailure> {
        Ok(Self {
            id: product.id,
            name: product.name,
            category: product.category,
            slogan: product.slogan,
            description: product.description,
            price_cents: product.price_cents,
            currency: product.currency,
            stock: product.stock,
            version: version(product.version)?,
        })
    }
}

impl TryFrom<proto::Order> for Order {
    type Error = CallFailure;

    fn try_from(order: proto::Order) -> Result<Self, CallFailure> {
        Ok(Self {
            id: id(&order.id)?,
            user_id: id(&order.user_id)?,
            product_id: order.product_id,
            quantity: order.quantity,
            unit_price_cents: order.unit_price_cents,
            total_price_cents: order.total_price_cents,
            status: match order.status() {
                proto::OrderStatus::Placed => OrderStatus::Placed,
                proto::OrderStatus::Cancelled => OrderStatus::Cancelled,
                proto::OrderStatus::Unspecified => {
                    return Err(CallFailure::BadAnswer(
                        "an order has no status that is known here",
                    ));
                }
            },
            currency: order.currency,
            created_at: time(required(order.created_at, "an order has no created_at")?)?,
            cancelled_at: order.cancelled_at.map(time).transpose()?,
            version: version(order.version)?,
        })
    }
}

impl OrderStatus {
    pub(crate) const fn to_proto(self) -> proto::OrderStatus {
        match self {
            Self::Placed => proto::OrderStatus::Placed,
            Self::Cancelled => proto::OrderStatus::Cancelled,
        }
    }
}

/// An id in text form.
pub(crate) fn id(text: &str) -> Result<Uuid, CallFailure> {
    text.parse().map_err(|_| CallFailure::BadAnswer("an id is no UUID"))
}

fn version(version: i64) -> Result<i64, CallFailure> {
    if version > 0 { Ok(version) } else { Err(CallFailure::BadAnswer("a version is not positive")) }
}

pub(crate) fn time(timestamp: Timestamp) -> Result<OffsetDateTime, CallFailure> {
    let nanos = i128::from(timestamp.seconds) * 1_000_000_000 + i128::from(timestamp.nanos);
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .map_err(|_| CallFailure::BadAnswer("a time is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> proto::Order {
        proto::Order {
            id: Uuid::now_v7().to_string(),
            user_id: Uuid::now_v7().to_string(),
            product_id: 1,
            quantity: 2,
            unit_price_cents: 4999,
            total_price_cents: 9998,
            currency: "CNY".to_owned(),
            status: proto::OrderStatus::Placed.into(),
            created_at: Some(Timestamp { seconds: 1_795_334_400, nanos: 123_456_000 }),
            cancelled_at: None,
            version: 1,
        }
    }

    #[test]
    fn an_order_keeps_its_microseconds() {
        let order = Order::try_from(order()).unwrap();
        assert_eq!(
            (order.created_at.unix_timestamp(), order.created_at.microsecond()),
            (1_795_334_400, 123_456)
        );
        assert_eq!(order.cancelled_at, None);
    }

    #[test]
    fn what_breaks_the_contract_is_not_passed_on() {
        let broken: [fn(&mut proto::Order); 6] = [
            |order| order.id = "1".to_owned(),
            |order| order.user_id = String::new(),
            |order| order.status = 0,
            |order| order.status = 9,
            |order| order.created_at = None,
            |order| order.version = 0,
        ];
        for (index, break_it) in broken.into_iter().enumerate() {
            let mut order = order();
            break_it(&mut order);
            assert!(matches!(Order::try_from(order), Err(CallFailure::BadAnswer(_))), "{index}");
        }
    }
}
