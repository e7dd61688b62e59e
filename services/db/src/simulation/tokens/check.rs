//! Compares the responses and the tables with promise 6 of `docs/guarantees.md`.

use std::collections::HashMap;

use tokio::time::Instant;
use uuid::Uuid;

use super::world::{History, Reply, Request, RequestKind};
use crate::simulation::orders::server::user_id;

/// A request that revoked the tokens of a user, or may have.
struct Revocation<'a> {
    request: &'a Request,
    /// When its client knew; `None` if the outcome is unknown.
    acknowledged: Option<Instant>,
}

/// Returns a sentence for each broken promise.
pub(super) fn broken_promises(history: &History) -> Vec<String> {
    let mut broken = history.broken.clone();
    broken.extend(history.tables.broken.iter().take(3).cloned());
    for name in &history.unanswered {
        broken.push(format!("promise 7: no answer long after the last fault: {name}"));
    }
    let check = Check { history };
    for request in &history.requests {
        let Request { id, reply, .. } = request;
        let sentence = match reply {
            Reply::Accepted(issued) => check.why_not_accept(request, *issued),
            Reply::TokenRevoked | Reply::WrongPassword | Reply::UnknownUser => {
                (!check.may_refuse(request)).then(|| "nothing that was sent allows it".to_owned())
            }
            Reply::Unknown(reason) => (reason.contains("Internal")
                || reason.contains("unexpected"))
            .then(|| reason.clone()),
        };
        if let Some(sentence) = sentence {
            broken.push(format!("promise 6: {id} got {reply:?}: {sentence}"));
        }
    }
    check.changes_have_events(&mut broken);
    check.orders_precede_revocations(&mut broken);
    broken
}

struct Check<'a> {
    history: &'a History,
}

impl Check<'_> {
    fn revocations(&self, user: usize) -> impl Iterator<Item = Revocation<'_>> {
        self.history.requests.iter().filter_map(move |request| {
            let revokes = matches!(
                request.kind,
                RequestKind::LogOut | RequestKind::ChangePassword { .. } | RequestKind::Deactivate
            );
            let acknowledged = match request.reply {
                Reply::Accepted(_) => Some(request.answered),
                Reply::Unknown(_) => None,
                Reply::TokenRevoked | Reply::WrongPassword | Reply::UnknownUser => return None,
            };
            (revokes && request.user == user).then_some(Revocation { request, acknowledged })
        })
    }

    /// Returns revocations that were acknowledged before a request began.
    fn earlier(&self, request: &Request) -> impl Iterator<Item = Revocation<'_>> {
        let invoked = request.invoked;
        self.revocations(request.user)
            .filter(move |revocation| revocation.acknowledged.is_some_and(|at| at < invoked))
    }

    /// Whether an asynchronous standby took over between two moments.
    fn lost_transactions(&self, from: Instant, to: Instant) -> bool {
        self.history.restores.iter().any(|(at, _)| *at >= from && *at <= to)
    }

    /// Returns the request that set a password, or tried to.
    fn set_by(&self, user: usize, password: usize) -> Option<&Request> {
        self.history.requests.iter().find(|request| {
            request.user == user && request.kind == RequestKind::ChangePassword { password }
        })
    }

    fn why_not_accept(&self, request: &Request, issued: i64) -> Option<String> {
        let version = match request.kind {
            RequestKind::LogIn { .. } => issued,
            _ => request.version,
        };
        let revoked = self.earlier(request).find(|earlier| earlier.request.version >= version);
        if let Some(Revocation { request: earlier, .. }) = revoked {
            return Some(format!("{} has revoked version {version}", earlier.id));
        }
        let refused = self.history.requests.iter().find(|other| {
            other.user == request.user
                && other.reply == Reply::TokenRevoked
                && other.version >= version
                && other.answered < request.invoked
        });
        if let Some(earlier) = refused {
            return Some(format!("{} was refused with version {}", earlier.id, earlier.version));
        }
        let mut restores = self.history.restores.iter();
        if restores.any(|(at, least)| *at < request.invoked && version < *least) {
            return Some(format!("a restore has revoked version {version}"));
        }
        let RequestKind::LogIn { password } = request.kind else { return None };
        let replaced = |earlier: &Revocation<'_>| match earlier.request.kind {
            RequestKind::Deactivate => true,
            // Versions of tokens order the changes.
            RequestKind::ChangePassword { password: newer } => {
                let set_by = self.set_by(request.user, password).map_or(0, |set| set.version);
                newer != password && earlier.request.version > set_by
            }
            _ => false,
        };
        let earlier = self.earlier(request).find(|earlier| {
            replaced(earlier) && !self.lost_transactions(earlier.request.invoked, request.answered)
        })?;
        Some(format!("{} has closed the account or changed the password", earlier.request.id))
    }

    /// Whether the request may have met another one that makes the refusal true.
    fn may_refuse(&self, request: &Request) -> bool {
        let Request { user, kind, version, invoked, answered, reply, .. } = request;
        let mut possible = self
            .revocations(*user)
            .filter(|other| other.request.id != request.id && other.request.invoked <= *answered);
        match (kind, reply) {
            // Its token was revoked while the password was hashed.
            (RequestKind::LogIn { .. }, Reply::TokenRevoked) => {
                possible.any(|other| other.acknowledged.is_none_or(|at| at >= *invoked))
                    || self.lost_transactions(*invoked, *answered)
            }
            (RequestKind::LogIn { password }, Reply::WrongPassword) => {
                let set_by = self.set_by(*user, *password);
                let is_set = *password == 0
                    || set_by.is_some_and(|set| {
                        matches!(set.reply, Reply::Accepted(_)) && set.answered < *invoked
                    });
                let set_with = set_by.map_or(0, |set| set.version);
                let since = set_by.map_or(*invoked, |set| set.invoked);
                !is_set
                    || possible.any(|other| {
                        matches!(other.request.kind, RequestKind::ChangePassword { .. })
                            && other.request.version > set_with
                    })
                    || self.lost_transactions(since, *answered)
            }
            (RequestKind::LogIn { .. }, _) => {
                possible.any(|other| other.request.kind == RequestKind::Deactivate)
            }
            (_, Reply::TokenRevoked) => {
                possible.any(|other| other.request.version >= *version)
                    || self
                        .history
                        .restores
                        .iter()
                        .any(|(at, least)| *at <= *answered && version < least)
            }
            _ => false,
        }
    }

    /// Each change that was acknowledged has one event, and a refused request has none.
    fn changes_have_events(&self, broken: &mut Vec<String>) {
        let mut events: HashMap<&str, usize> = HashMap::new();
        for event in &self.history.tables.events {
            *events.entry(&event.request_id).or_default() += 1;
        }
        for request in &self.history.requests {
            let Request { id, kind, invoked, reply, .. } = request;
            let is_lost = self.history.restores.iter().any(|(at, _)| at >= invoked);
            let allowed = match reply {
                _ if *kind == RequestKind::Read => 0..=0,
                Reply::Accepted(_) if !is_lost => 1..=1,
                Reply::Accepted(_) | Reply::Unknown(_) => 0..=1,
                Reply::TokenRevoked | Reply::WrongPassword | Reply::UnknownUser => 0..=0,
            };
            let found = events.get(id.as_str()).copied().unwrap_or(0);
            if !allowed.contains(&found) {
                broken.push(format!("promise 4: {id} got {reply:?} and has {found} events"));
            }
        }
    }

    /// No order commits after the commit that revoked its token.
    fn orders_precede_revocations(&self, broken: &mut Vec<String>) {
        let tables = &self.history.tables;
        let versions: HashMap<&str, (Uuid, i64)> = self
            .history
            .requests
            .iter()
            .map(|request| (request.id.as_str(), (user_id(request.user), request.version)))
            .collect();
        let placed = tables.events.iter().filter(|event| event.event == "order_placed");
        let callers: HashMap<Uuid, (Uuid, i64)> = placed
            .filter_map(|event| {
                let order = event.subject.strip_prefix("order:")?.parse().ok()?;
                Some((order, *versions.get(event.request_id.as_str())?))
            })
            .collect();
        for (commit, _, order) in &tables.placed {
            let Some((user, version)) = callers.get(order) else { continue };
            for (revoked, _, other, new) in &tables.log_outs {
                if other == user && new > version && revoked < commit {
                    broken.push(format!(
                        "promise 6: order {order} was placed with version {version} after version \
                         {new} was committed"
                    ));
                }
            }
        }
    }
}
