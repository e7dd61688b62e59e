use command_output::print_done;
use merch_chassis::pki::{Outcome, Renew, make};

use crate::{
    command_error::CommandError,
    settings::operations::Pki,
    table::{Cell, table},
};

pub(crate) fn run(command: &Pki) -> Result<(), CommandError> {
    let (dir, renew) = match command {
        Pki::Init(dir) => (dir, Renew::Due),
        Pki::Renew(dir) => (dir, Renew::All),
    };
    let outcomes = make(&dir.pki_dir, renew, dir.pki_lifetime)?;
    let rows: Vec<_> = outcomes.iter().map(row).collect();
    let done = format!("the certificates are in {}", dir.pki_dir.display());
    Ok(print_done(done, table(&["certificate", "", "expires"], &rows))?)
}

fn row(outcome: &Outcome) -> Vec<Cell> {
    let expires = outcome
        .not_after
        .map_or_else(String::new, |time| humantime::format_rfc3339_seconds(time).to_string());
    vec![
        Cell::text(outcome.name),
        Cell::text(if outcome.made { "created" } else { "kept" }),
        Cell::text(expires),
    ]
}
