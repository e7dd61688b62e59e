//! Promise 6: revoked tokens are refused, and no others.

use std::collections::HashMap;

use uuid::Uuid;

use super::{
    Report,
    facts::{Facts, Outcome, outcome, status},
};
use crate::history::{Call, Moment, Operation, Token};

/// When each token was revoked.
pub(super) struct Lifetimes<'a> {
    facts: &'a Facts<'a>,
    log_outs: HashMap<Uuid, Vec<&'a Operation>>,
    tokens: HashMap<Token, Lifetime>,
}

impl<'a> Lifetimes<'a> {
    pub(super) fn new(facts: &'a Facts<'a>) -> Self {
        let mut log_outs = HashMap::<Uuid, Vec<&Operation>>::new();
        let mut log_ins = HashMap::<Token, &Operation>::new();
        for (_, op) in facts.operations() {
            match &op.call {
                Call::LogOut { token } if outcome(op) != Outcome::Refused => {
                    log_outs.entry(token.user).or_default().push(op);
                }
                Call::LogIn { user, log_in } if outcome(op) == Outcome::Done => {
                    log_ins.insert(Token { user: *user, log_in: *log_in }, op);
                }
                _ => {}
            }
        }
        let mut lifetimes = Self { facts, log_outs, tokens: HashMap::new() };
        for token in facts.operations().filter_map(|(_, op)| token(&op.call)) {
            if !lifetimes.tokens.contains_key(&token) {
                let lifetime = lifetimes.of(token.user, log_ins.get(&token).copied());
                lifetimes.tokens.insert(token, lifetime);
            }
        }
        lifetimes
    }

    fn of(&self, user: Uuid, log_in: Option<&Operation>) -> Lifetime {
        Lifetime::new(self.facts, log_in, self.log_outs.get(&user).map_or(&[][..], Vec::as_slice))
    }

    /// Returns whether the request may get 401.
    pub(super) fn may_be_refused(&self, op: &Operation) -> bool {
        let lifetime = match &op.call {
            Call::ForgedToken | Call::WrongPassword { .. } => return true,
            // A restore can have removed the user.
            Call::LogIn { user, .. } if !self.facts.books.tables.users.contains_key(user) => {
                return true;
            }
            Call::LogIn { user, .. } => &self.of(*user, Some(op)),
            call => match token(call) {
                Some(token) => &self.tokens[&token],
                None => return false,
            },
        };
        lifetime.ends_from.is_some_and(|from| from <= op.ended)
    }
}

pub(super) fn check(facts: &Facts<'_>, report: &mut Report, lifetimes: &Lifetimes<'_>) {
    for (index, op) in facts.operations() {
        let status = status(op);
        forgeries(report, index, op);
        let token = token(&op.call);
        let who = match (&op.call, token) {
            (Call::LogIn { .. }, _) => "a log-in with the right password".to_owned(),
            (_, Some(Token { user, log_in })) => format!("token {log_in} of user {user}"),
            (_, None) => continue,
        };
        if status == 401 && !lifetimes.may_be_refused(op) {
            report.add(6, [index], format!("{who} got 401, and nothing revoked it"));
        }
        let ended_at = token.and_then(|token| lifetimes.tokens[&token].ended_at);
        let accepted = matches!(status, 200..500) && !matches!(status, 401 | 429);
        if let Some(revoked) = ended_at.filter(|revoked| accepted && *revoked < op.began) {
            let what = format!(
                "{who} was revoked before {:.3} s and accepted with {status} afterwards",
                revoked.as_secs_f64()
            );
            report.add(6, [index], what);
        }
    }
}

/// When a token was revoked.
struct Lifetime {
    /// The first moment at which something can have revoked it.
    ends_from: Option<Moment>,
    /// The moment after which it is certainly revoked.
    ended_at: Option<Moment>,
}

impl Lifetime {
    fn new(facts: &Facts<'_>, log_in: Option<&Operation>, log_outs: &[&Operation]) -> Self {
        let (began, ended) = log_in.map_or_else(Default::default, |op| (op.began, op.ended));
        let possible = log_outs
            .iter()
            .filter(|op| outcome(op) == Outcome::Unknown || op.ended >= began)
            .map(|op| op.began);
        let sure = log_outs
            .iter()
            .filter(|op| {
                outcome(op) == Outcome::Done && op.began > ended && facts.undone_by(op) == 0
            })
            .map(|op| op.ended);
        // A restore revokes all tokens.
        let restores = facts.restores.iter();
        let possible =
            possible.chain(restores.clone().filter(|it| it.ended >= began).map(|it| it.began));
        let sure = sure.chain(restores.filter(|it| it.began > ended).map(|it| it.ended));
        Self { ends_from: possible.min(), ended_at: sure.min() }
    }
}

/// Returns the token that a call sends.
pub(super) fn token(call: &Call) -> Option<Token> {
    match call {
        Call::LogOut { token }
        | Call::Place { token, .. }
        | Call::Cancel { token, .. }
        | Call::GetOrder { token, .. }
        | Call::ListOrders { token } => Some(*token),
        Call::Register { .. }
        | Call::LogIn { .. }
        | Call::WrongPassword { .. }
        | Call::GetProduct { .. }
        | Call::ListProducts
        | Call::ForgedToken
        | Call::Restock { .. } => None,
    }
}

fn forgeries(report: &mut Report, index: usize, op: &Operation) {
    if matches!(op.call, Call::ForgedToken | Call::WrongPassword { .. })
        && matches!(status(op), 200..500)
        && !matches!(status(op), 401 | 429)
    {
        let what = format!("a forged token or a wrong password got {}", status(op));
        report.add(6, [index], what);
    }
}
