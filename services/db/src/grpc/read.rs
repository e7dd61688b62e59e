//! Reads the fields of requests, which are checked by the rules of `proto/` already. Only what those
//! rules cannot express is an invalid field here.

use merch_contract::grpc::assistant::v1 as proto;
use uuid::Uuid;

use crate::{
    failure::Failure,
    store::{Caller, Context, internal, known_networks::Network, password_checks::Reservation},
};

pub(super) fn context(context: Option<proto::RequestContext>) -> Context {
    let proto::RequestContext { request_id, trace_id } = context.unwrap_or_default();
    Context { request_id, trace_id }
}

pub(super) fn caller(caller: Option<proto::Caller>) -> Result<Caller, Failure> {
    let caller = caller.ok_or_else(|| unchecked("caller"))?;
    let user_id = id("caller.user_id", &caller.user_id)?;
    Ok(Caller { user_id, token_version: caller.token_version })
}

pub(super) fn id(field: &str, text: &str) -> Result<Uuid, Failure> {
    Uuid::try_parse(text).map_err(|_| unchecked(field))
}

pub(super) fn network(text: &str) -> Result<Network, Failure> {
    Network::parse(text).ok_or_else(|| {
        Failure::invalid("client_network", "an IP address in text form without a zone, or empty")
    })
}

pub(super) fn reservation(bytes: &[u8]) -> Result<Reservation, Failure> {
    Reservation::from_bytes(bytes).ok_or_else(|| {
        Failure::invalid("reservation", "a reservation of BeginPasswordCheck, or empty")
    })
}

pub(super) fn page_size(size: i32) -> Result<u64, Failure> {
    u64::try_from(size).map_err(|_| unchecked("page_size"))
}

/// A field that violates a rule of `proto/`, although requests are checked before they are read.
pub(super) fn unchecked(field: &str) -> Failure {
    internal(&format!("the field {field} was not checked"))
}
