//! Which requests a fault can affect.

use std::time::Duration;

use super::facts::status;
use crate::history::{Call, Fault, Moment, Operation};

/// `MERCH_GRPC_DEADLINE`: the time limit of a call to db.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(5);
/// After a fault, requests may fail for this long.
pub const RECOVERY: Duration = Duration::from_secs(10);

/// The requests that one fault can affect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Kafka, logging and clocks that are at most 4 s wrong affect none.
    Nothing,
    Everything,
    /// Requests of clients of the embedded store, and not of its operator.
    Clients,
    /// Requests to one api.
    Api(usize),
    /// 401 of one api becomes 503 if its journal cannot be written.
    Refusals(usize),
    /// Restocks through one db.
    Operator(usize),
}

impl Scope {
    /// Parses the name of a fault, such as `cut api 0 -> db 1`. A comma begins its details.
    fn of(fault: &str) -> Self {
        let (verb, target) = words(fault);
        let number = |name: &str, of: &str| name.strip_prefix(of)?.trim_start().parse().ok();
        let is_of_events = |word| matches!(word, "kafka" | "logging");
        if verb == "skew" || target.split(|c: char| !c.is_alphanumeric()).any(is_of_events) {
            return Self::Nothing;
        }
        let (from, to) = target.split_once(" -> ").unwrap_or((target, ""));
        match from {
            "clients" => number(to, "api").map_or(Self::Clients, Self::Api),
            "operator" => number(to, "db").map_or(Self::Everything, Self::Operator),
            _ => number(from, "api")
                .map(Self::Api)
                .or_else(|| number(from, "disk of api").map(Self::Refusals))
                .unwrap_or(Self::Everything),
        }
    }

    fn contains(self, op: &Operation) -> bool {
        let is_restock = matches!(op.call, Call::Restock { .. });
        let uses = |server| op.server.is_none_or(|used| used == server);
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Clients => !is_restock,
            Self::Api(server) => !is_restock && uses(server),
            Self::Refusals(server) => !is_restock && uses(server) && status(op) == 503,
            Self::Operator(server) => is_restock && uses(server),
        }
    }
}

/// Returns the first word and the rest, without details.
fn words(fault: &str) -> (&str, &str) {
    let name = fault.split(',').next().unwrap_or_default();
    name.split_once(' ').unwrap_or((name, ""))
}

/// The name of a fault that joins several has `and` between them.
fn parts(fault: &Fault) -> impl Iterator<Item = &str> {
    fault.what.split(" and ")
}

/// Returns whether a fault can make a request fail. `is_refusable`: whether the request may get
/// 401.
pub(super) fn affects(fault: &Fault, op: &Operation, is_refusable: bool) -> bool {
    parts(fault).map(Scope::of).any(|scope| match scope {
        Scope::Refusals(_) => is_refusable && scope.contains(op),
        _ => scope.contains(op),
    })
}

/// Returns whether a fault can delay an attempt that got no response, so that it has its effect
/// later.
pub(super) fn delays(fault: &Fault, op: &Operation) -> bool {
    affects(fault, op, false)
}

/// Returns whether a fault holds a request or its response back so that the api's deadline does not
/// apply: one of the client's connection, or a frozen api.
pub(super) fn holds(fault: &Fault, op: &Operation) -> bool {
    parts(fault).any(|part| {
        let (verb, target) = words(part);
        let is_frozen = verb == "freeze" && (target.starts_with("api ") || target == "store");
        (is_frozen || target.starts_with("clients -> ")) && Scope::of(part).contains(op)
    })
}

/// Returns whether a fault was active during a request, or had ended at most this long before it.
pub(super) fn overlaps(fault: &Fault, op: &Operation, recovery: Duration) -> bool {
    let recovered: Moment = fault.ended.saturating_add(recovery);
    fault.began <= op.ended && op.began <= recovered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_follows_from_the_name_of_a_fault() {
        for (fault, scope) in [
            ("kill kafka", Scope::Nothing),
            ("freeze logging 0", Scope::Nothing),
            ("cut api 1 -> logging 0", Scope::Nothing),
            ("delay logging -> kafka, up to 12ms", Scope::Nothing),
            ("skew api 0, -3000 ms", Scope::Nothing),
            ("skew db 1, +3000 ms", Scope::Nothing),
            ("kill db 0", Scope::Everything),
            ("cut db 0 -> postgres", Scope::Everything),
            ("freeze store", Scope::Everything),
            ("kill all", Scope::Everything),
            ("restore a backup", Scope::Everything),
            ("promote standby", Scope::Everything),
            ("fill disk of postgres", Scope::Everything),
            ("an unknown one", Scope::Everything),
            ("cut clients -> store", Scope::Clients),
            ("throttle clients -> api 1, 1000 bytes a second", Scope::Api(1)),
            ("restart api 0", Scope::Api(0)),
            ("tear api 1 -> db 0", Scope::Api(1)),
            ("fill disk of api 1", Scope::Refusals(1)),
            ("cut operator -> db 1", Scope::Operator(1)),
        ] {
            assert_eq!(Scope::of(fault), scope, "{fault}");
        }
    }
}
