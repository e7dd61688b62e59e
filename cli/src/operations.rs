use clap::Command;
use merch_contract::rest::cli::{Cli, CliCommand};

use crate::report::Report;

/// progenitor's subcommand, with its name and help adapted.
pub(crate) fn generated_command(operation: CliCommand) -> Command {
    let command = Cli::<Report>::get_command(operation).name(subcommand_name(operation));
    // The text is the summary, an empty line, and the description; the list shows the summary.
    let text = command.get_about().map(ToString::to_string).unwrap_or_default();
    let summary = text.lines().next().unwrap_or_default().to_owned();
    command.about(summary).long_about(text.trim_end().to_owned())
}

pub(crate) fn subcommand_name(operation: CliCommand) -> String {
    operation.operation_id().replace('_', "-")
}
