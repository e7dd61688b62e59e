//! Checked conversions from the messages of the db service to the types of `openapi.yaml`.

use merch_contract::{grpc::assistant::v1 as proto, rest::server as rest};
use pbjson_types::Timestamp;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::DbError;

/// A resource and its row's version, the source of its entity tag.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Versioned<T> {
    pub(crate) value: T,
    pub(crate) version: i64,
}

/// Returns a field that proto3 cannot declare as required.
pub(crate) fn required<T>(field: Option<T>, error: &'static str) -> Result<T, DbError> {
    field.ok_or(DbError::InvalidResponse(error))
}

pub(crate) fn items<M, T>(messages: Vec<M>) -> Result<Vec<T>, DbError>
where
    Versioned<T>: TryFrom<M, Error = DbError>,
{
    messages.into_iter().map(|message| Ok(Versioned::<T>::try_from(message)?.value)).collect()
}

/// The last page has an empty token.
pub(crate) fn next_page(token: String) -> Option<String> {
    (!token.is_empty()).then_some(token)
}

impl TryFrom<proto::User> for Versioned<rest::User> {
    type Error = DbError;

    fn try_from(user: proto::User) -> Result<Self, DbError> {
        let value = rest::User {
            id: id(&user.id)?,
            sid: user.sid,
            username: user.username,
            email: user.email,
            active: user.active,
            created_at: time(required(user.created_at, "a user has no created_at")?)?,
            updated_at: time(required(user.updated_at, "a user has no updated_at")?)?,
        };
        Ok(Self { value, version: version(user.version)? })
    }
}

impl TryFrom<proto::Product> for Versioned<rest::Product> {
    type Error = DbError;

    fn try_from(product: proto::Product) -> Result<Self, DbError> {
        let value = rest::Product {
            id: product.id,
            name: product.name,
            category: product.category,
            slogan: product.slogan,
            description: product.description,
            price_cents: product.price_cents,
            currency: product.currency,
            stock: product.stock,
        };
        Ok(Self { value, version: version(product.version)? })
    }
}

impl TryFrom<proto::Order> for Versioned<rest::Order> {
    type Error = DbError;

    fn try_from(order: proto::Order) -> Result<Self, DbError> {
        let value = rest::Order {
            id: id(&order.id)?,
            user_id: id(&order.user_id)?,
            product_id: order.product_id,
            quantity: order.quantity,
            unit_price_cents: order.unit_price_cents,
            total_price_cents: order.total_price_cents,
            status: match order.status() {
                proto::OrderStatus::Placed => rest::OrderStatus::Placed,
                proto::OrderStatus::Cancelled => rest::OrderStatus::Cancelled,
                proto::OrderStatus::Unspecified => {
                    return Err(DbError::InvalidResponse("an order has an unknown status"));
                }
            },
            currency: order.currency,
            created_at: time(required(order.created_at, "an order has no created_at")?)?,
            cancelled_at: order.cancelled_at.map(time).transpose()?,
        };
        Ok(Self { value, version: version(order.version)? })
    }
}

pub(crate) fn order_status(status: rest::OrderStatus) -> proto::OrderStatus {
    match status {
        rest::OrderStatus::Placed => proto::OrderStatus::Placed,
        rest::OrderStatus::Cancelled => proto::OrderStatus::Cancelled,
    }
}

pub(crate) fn id(text: &str) -> Result<Uuid, DbError> {
    text.parse().map_err(|_| DbError::InvalidResponse("an id is not a UUID"))
}

fn version(version: i64) -> Result<i64, DbError> {
    if version > 0 {
        Ok(version)
    } else {
        Err(DbError::InvalidResponse("a version is not positive"))
    }
}

pub(crate) fn time(timestamp: Timestamp) -> Result<OffsetDateTime, DbError> {
    let nanos = i128::from(timestamp.seconds) * 1_000_000_000 + i128::from(timestamp.nanos);
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .map_err(|_| DbError::InvalidResponse("a timestamp is out of range"))
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
    fn order_timestamps_keep_microseconds() {
        let order = Versioned::<rest::Order>::try_from(order()).unwrap().value;
        assert_eq!(
            (order.created_at.unix_timestamp(), order.created_at.microsecond()),
            (1_795_334_400, 123_456)
        );
        assert_eq!(order.cancelled_at, None);
    }

    #[test]
    fn invalid_orders_are_rejected() {
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
            let result = Versioned::<rest::Order>::try_from(order);
            assert!(matches!(result, Err(DbError::InvalidResponse(_))), "{index}");
        }
    }
}
