use std::time::Duration;

use merch_contract::{
    grpc::assistant::{v1 as proto, v1::ErrorReason},
    validation::{Validate as _, Violation},
};
use proto::place_order_result::Outcome;
use tokio::time::Instant;

use super::{page_token::OrdersPage, read};
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

/// `until` is the deadline of the call; an order can have an earlier one.
pub(super) async fn place_orders(
    queue: &Queue,
    request: proto::PlaceOrdersRequest,
    until: Option<Instant>,
) -> Result<proto::PlaceOrdersResponse, Failure> {
    // An invalid order is refused separately; the others keep their positions.
    let mut results: Vec<Option<proto::PlaceOrderResult>> =
        Vec::with_capacity(request.orders.len());
    let mut valid = Vec::with_capacity(request.orders.len());
    for order in request.orders {
        let violations = order.violations();
        if violations.is_empty() {
            let order = NewOrder::try_from(order)?;
            let deadline = [order.deadline, until].into_iter().flatten().min();
            valid.push(NewOrder { deadline, ..order });
            results.push(None);
        } else {
            let message = violation_message(&violations);
            results.push(Some(refusal_result(ErrorReason::InvalidField, message)));
        }
    }
    let mut outcomes = queue.place(valid).await?.into_iter();
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
    let page = OrdersPage::of(&request.page_token, filter(request.status()))?;
    let caller = read::caller(request.caller)?;
    let size = read::page_size(request.page_size)?;
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
    let caller = read::caller(request.caller)?;
    let order = store.order(caller, read::id("order_id", &request.order_id)?).await?;
    Ok(proto::GetOrderResponse { order: Some(order.into()) })
}

pub(super) async fn cancel_order(
    store: &Store,
    request: proto::CancelOrderRequest,
) -> Result<proto::CancelOrderResponse, Failure> {
    let context = read::context(request.context);
    let caller = read::caller(request.caller)?;
    let order_id = read::id("order_id", &request.order_id)?;
    let order = store.cancel_order(&context, caller, order_id).await?;
    Ok(proto::CancelOrderResponse { order: Some(order.into()) })
}

impl TryFrom<proto::NewOrder> for NewOrder {
    type Error = Failure;

    fn try_from(order: proto::NewOrder) -> Result<Self, Failure> {
        // Destructured, so that a new field does not compile until it is read.
        let proto::NewOrder {
            context,
            caller,
            product_id,
            quantity,
            idempotency_key,
            time_left_ms,
        } = order;
        let time_left = time_left_ms.and_then(|left| u64::try_from(left).ok());
        Ok(Self {
            context: read::context(context),
            caller: read::caller(caller)?,
            product_id,
            quantity,
            idempotency_key: Some(idempotency_key).filter(|key| !key.is_empty()),
            deadline: time_left.map(|left| Instant::now() + Duration::from_millis(left)),
        })
    }
}

fn violation_message(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
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
