//! Promise 6: revoked tokens are refused, and no others.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::{
    Report,
    facts::{Facts, Outcome, outcome, status},
};
use crate::history::{Call, Moment, Operation, Token};

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    let mut log_outs = HashMap::<Uuid, Vec<&Operation>>::new();
    let mut log_ins = BTreeMap::<Token, &Operation>::new();
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
    let mut lifetimes = HashMap::<Token, Lifetime>::new();
    for (index, op) in facts.operations() {
        let (Some(token), status) = (token(&op.call), status(op)) else {
            forgeries(report, index, op);
            if let Call::LogIn { user, .. } = &op.call
                && status(op) == 401
                && facts.books.tables.users.contains_key(user)
            {
                let log_outs = log_outs.get(user).map_or(&[][..], Vec::as_slice);
                let lifetime = Lifetime::new(facts, Some(op), log_outs);
                if lifetime.ends_from.is_none_or(|from| from > op.ended) {
                    let what = "a log-in with the right password got 401, and nothing revoked it";
                    report.add(6, [index], what);
                }
            }
            continue;
        };
        let lifetime = lifetimes.entry(token).or_insert_with(|| {
            let log_outs = log_outs.get(&token.user).map_or(&[][..], Vec::as_slice);
            Lifetime::new(facts, log_ins.get(&token).copied(), log_outs)
        });
        let (user, log_in) = (token.user, token.log_in);
        let accepted = matches!(status, 200..500) && !matches!(status, 401 | 429);
        if accepted && lifetime.ended_at.is_some_and(|revoked| revoked < op.began) {
            let what = format!(
                "token {log_in} of user {user} was revoked before {:.3} s and accepted with \
                 {status} afterwards",
                lifetime.ended_at.unwrap_or_default().as_secs_f64()
            );
            report.add(6, [index], what);
        }
        if status == 401 && lifetime.ends_from.is_none_or(|from| from > op.ended) {
            let what = format!("token {log_in} of user {user} got 401, and nothing revoked it");
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

fn token(call: &Call) -> Option<Token> {
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
