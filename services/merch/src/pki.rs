//! `merch pki`: the authority of the internal network and the roles' certificates.

use command_output::print_done;
use merch_chassis::pki::{Outcome, Renew, make};

use crate::{
    failure::Failure,
    settings::operator::Pki,
    table::{Cell, table},
};

/// Makes what is missing or all anew, and prints what it did.
///
/// # Errors
/// When the folder cannot be written to, half of an authority is there, or standard output does not
/// take the answer.
pub(crate) fn run(command: &Pki) -> Result<(), Failure> {
    let (folder, renew) = match command {
        Pki::Init(folder) => (folder, Renew::Due),
        Pki::Renew(folder) => (folder, Renew::All),
    };
    let outcomes = make(&folder.pki_dir, renew, folder.pki_lifetime)?;
    let rows: Vec<_> = outcomes.iter().map(row).collect();
    let done = format!("the certificates are in {}", folder.pki_dir.display());
    Ok(print_done(done, table(&["certificate", "", "expires"], &rows))?)
}

fn row(outcome: &Outcome) -> Vec<Cell> {
    let expires = outcome
        .not_after
        .map_or_else(String::new, |time| humantime::format_rfc3339_seconds(time).to_string());
    vec![
        Cell::text(outcome.name),
        Cell::text(if outcome.made { "made" } else { "kept" }),
        Cell::text(expires),
    ]
}
