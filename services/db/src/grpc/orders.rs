use merch_contract::grpc::assistant::{v1 as proto, v1::ErrorReason};
use proto::place_order_result::Outcome;
use tokio::time::Instant;

use super::{
    fields::{Fields, is_visible},
    page_token::OrdersPage,
};
use crate::{
    clock::timestamp,
    entity::orders::{Model, Status},
    failure::{Failure, message},
    store::{
        Store,
        committer::Queue,
        place::{NewOrder, OrderOutcome},
    },
};

/// `until` is the caller's deadline.
pub(super) async fn place_orders(
    queue: &Queue,
    request: proto::PlaceOrdersRequest,
    until: Option<Instant>,
) -> Result<proto::PlaceOrdersResponse, Failure> {
    if !(1..=256).contains(&request.orders.len()) {
        return Err(Failure::invalid("orders", "1 to 256 orders"));
    }
    // An invalid order is refused separately; the others keep their positions.
    let mut results: Vec<Option<proto::PlaceOrderResult>> =
        Vec::with_capacity(request.orders.len());
    let mut valid = Vec::with_capacity(request.orders.len());
    for order in request.orders {
        match NewOrder::try_from(order) {
            Ok(order) => {
                valid.push(order);
                results.push(None);
            }
            Err(failure) => results
                .push(Some(refusal_result(ErrorReason::InvalidField, violation_message(failure)?))),
        }
    }
    let mut outcomes = queue.place(valid, until).await?.into_iter();
    let results = results
        .into_iter()
        .map(|result| result.or_else(|| outcomes.next().map(Into::into)).unwrap_or_default())
        .collect();
    Ok(proto::PlaceOrdersResponse { results })
}

pub(super) async fn list_orders(
    store: &Store,
    request: proto::ListOrdersRequest,
) -> Result<proto::ListOrdersResponse, Failure> {
    let mut fields = Fields::default();
    let caller = fields.caller("caller", request.caller);
    let size = fields.page_size("page_size", request.page_size);
    let known = proto::OrderStatus::try_from(request.status);
    fields.check("status", known.is_ok(), "a value of OrderStatus");
    fields.finish(())?;
    let page = OrdersPage::of(&request.page_token, filter(known.unwrap_or_default()))?;
    // One more row shows whether there is a next page.
    let mut orders = store.orders(caller, page.status, page.before, size + 1).await?;
    let more = orders.len() as u64 > size;
    orders.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    let next_page_token = match orders.last() {
        Some(last) if more => OrdersPage { before: Some(last.id), status: page.status }.encode(),
        Some(_) | None => String::new(),
    };
    Ok(proto::ListOrdersResponse {
        orders: orders.into_iter().map(Into::into).collect(),
        next_page_token,
    })
}

pub(super) async fn get_order(
    store: &Store,
    request: proto::GetOrderRequest,
) -> Result<proto::GetOrderResponse, Failure> {
    let mut fields = Fields::default();
    let read = (fields.caller("caller", request.caller), fields.id("order_id", &request.order_id));
    let (caller, order_id) = fields.finish(read)?;
    let order = store.order(caller, order_id).await?;
    Ok(proto::GetOrderResponse { order: Some(order.into()) })
}

pub(super) async fn cancel_order(
    store: &Store,
    request: proto::CancelOrderRequest,
) -> Result<proto::CancelOrderResponse, Failure> {
    let mut fields = Fields::default();
    let context = fields.context(request.context);
    let caller = fields.caller("caller", request.caller);
    let order_id = fields.id("order_id", &request.order_id);
    fields.finish(())?;
    let order = store.cancel_order(&context, caller, order_id).await?;
    Ok(proto::CancelOrderResponse { order: Some(order.into()) })
}

impl TryFrom<proto::NewOrder> for NewOrder {
    type Error = Failure;

    fn try_from(order: proto::NewOrder) -> Result<Self, Failure> {
        let mut fields = Fields::default();
        let context = fields.context(order.context);
        let caller = fields.caller("caller", order.caller);
        fields.check("quantity", (1..=3).contains(&order.quantity), "1 to 3");
        let key = order.idempotency_key;
        fields.check(
            "idempotency_key",
            key.len() <= 255 && is_visible(&key),
            "1 to 255 visible ASCII characters, or empty",
        );
        let idempotency_key = (!key.is_empty()).then_some(key);
        fields.finish(Self {
            context,
            caller,
            product_id: order.product_id,
            quantity: order.quantity,
            idempotency_key,
        })
    }
}

fn violation_message(failure: Failure) -> Result<String, Failure> {
    match failure {
        Failure::Invalid(violations) => Ok(violations
            .iter()
            .map(|violation| format!("{}: expected {}", violation.field, violation.expected))
            .collect::<Vec<_>>()
            .join("; ")),
        Failure::Refused(_)
        | Failure::TooManyLogIns(_)
        | Failure::Retryable(_)
        | Failure::Unavailable(_)
        | Failure::TimedOut
        | Failure::Internal(_) => Err(failure),
    }
}

fn refusal_result(reason: ErrorReason, message: String) -> proto::PlaceOrderResult {
    let refusal = proto::OrderRefusal { reason: reason.into(), message };
    proto::PlaceOrderResult { outcome: Some(Outcome::Refusal(refusal)) }
}

impl From<OrderOutcome> for proto::PlaceOrderResult {
    fn from(outcome: OrderOutcome) -> Self {
        match outcome {
            OrderOutcome::Placed(order) | OrderOutcome::Replayed(order) => {
                Self { outcome: Some(Outcome::Order(order.into())) }
            }
            OrderOutcome::Refused(reason) => refusal_result(reason, message(reason).to_owned()),
        }
    }
}

impl From<Model> for proto::Order {
    fn from(order: Model) -> Self {
        Self {
            id: order.id.to_string(),
            user_id: order.user_id.to_string(),
            product_id: order.product_id,
            quantity: order.quantity,
            unit_price_cents: order.unit_price_cents,
            total_price_cents: order.total_price_cents,
            currency: order.currency,
            status: proto::OrderStatus::from(order.status).into(),
            created_at: Some(timestamp(order.created_at)),
            cancelled_at: order.cancelled_at.map(timestamp),
            version: order.version,
        }
    }
}

impl From<Status> for proto::OrderStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Placed => Self::Placed,
            Status::Cancelled => Self::Cancelled,
        }
    }
}

/// Unspecified means any status.
fn filter(status: proto::OrderStatus) -> Option<Status> {
    match status {
        proto::OrderStatus::Unspecified => None,
        proto::OrderStatus::Placed => Some(Status::Placed),
        proto::OrderStatus::Cancelled => Some(Status::Cancelled),
    }
}
