//! The command line: the generated subcommands, one an operation, and the options that all of them share.

use clap::{Arg, ArgAction, ArgMatches, Command};
use merch_contract::rest::cli::{Cli, CliCommand};

use crate::{passwords, report::Report};

const AFTER_HELP: &str = "\
Examples:
  merch-cli register --sid 12110304 --username alice --email alice@example.com
  export MERCH_TOKEN=$(merch-cli --raw access_token log-in --username alice)
  merch-cli place-order --product-id 1 --quantity 2

The answer is JSON on standard output; what went wrong is on standard error, with exit code 1.";

/// The whole command line. Passwords may be left out: [`passwords::complete`] reads them.
pub(crate) fn command() -> Command {
    Command::new("merch-cli")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The SUSTech Merch Store from the command line")
        .after_help(AFTER_HELP)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(shared().map(|argument| argument.help_heading("For every operation")))
        .subcommands(CliCommand::iter().map(|operation| generated(operation).mut_args(as_we_have_it)))
}

/// The operation that was asked for, with its own arguments.
pub(crate) fn operation(matches: &ArgMatches) -> Option<(CliCommand, &ArgMatches)> {
    let (name, matches) = matches.subcommand()?;
    let operation = CliCommand::iter().find(|operation| subcommand_name(*operation) == name)?;
    Some((operation, matches))
}

/// The subcommand of `operation` just as progenitor made it, but for its name and the shape of its help.
pub(crate) fn generated(operation: CliCommand) -> Command {
    let command = Cli::<Report>::get_command(operation).name(subcommand_name(operation));
    // The generated text is the summary, an empty line, and the description; the list of subcommands has room for the summary.
    let text = command.get_about().map(ToString::to_string).unwrap_or_default();
    let summary = text.lines().next().unwrap_or_default().to_owned();
    command.about(summary).long_about(text.trim_end().to_owned())
}

/// `place_order` is `place-order` on the command line.
fn subcommand_name(operation: CliCommand) -> String {
    operation.operation_id().replace('_', "-")
}

fn as_we_have_it(argument: Arg) -> Arg {
    if passwords::is_password(&argument) {
        passwords::optional(&argument)
    } else if argument.get_id() == "json-body-template" {
        // progenitor defines this flag and does nothing with it: one that is neither shown nor taken.
        argument.hide(true).action(ArgAction::Set).num_args(0..=1).default_missing_value("").value_parser(no_template)
    } else if argument.get_id() == "json-body" {
        argument.help("A file that holds the whole body of the request as JSON, instead of the single options")
    } else {
        argument
    }
}

fn no_template(_: &str) -> Result<bool, String> {
    Err("there are no templates; `/docs` on the store's address shows an example of each body".to_owned())
}

fn shared() -> [Arg; 4] {
    [
        Arg::new("url")
            .long("url")
            .env("MERCH_URL")
            .global(true)
            .value_name("URL")
            .default_value("http://127.0.0.1:8080")
            .value_parser(parse_url)
            .help("Where the store is"),
        Arg::new("token")
            .long("token")
            .env("MERCH_TOKEN")
            .hide_env_values(true)
            .global(true)
            .value_name("TOKEN")
            .help("The token that log-in gave, for what only a user may do. The variable is better than the option: others on this machine can see options"),
        Arg::new("raw")
            .long("raw")
            .global(true)
            .value_name("MEMBER")
            .help("Print only this member of the answer, without quotes: `--raw access_token`"),
        Arg::new("verbose")
            .long("verbose")
            .short('v')
            .global(true)
            .action(ArgAction::SetTrue)
            .help("Say the answer's status, ETag, Location and request id on standard error"),
    ]
}

fn parse_url(text: &str) -> Result<reqwest::Url, String> {
    let expected = "expected an address such as http://127.0.0.1:8080";
    let url = reqwest::Url::parse(text).map_err(|error| format!("{error}; {expected}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
        return Err(expected.to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_operation_is_a_subcommand() {
        for operation in CliCommand::iter() {
            let name = subcommand_name(operation);
            assert!(command().find_subcommand(&name).is_some_and(|found| found.get_about().is_some()), "{name}");
        }
    }

    #[test]
    fn only_http_addresses_are_taken() {
        assert!(parse_url("https://shop.example/merch/").is_ok());
        for wrong in ["127.0.0.1:8080", "ftp://x", "http://x/?a", ""] {
            assert!(parse_url(wrong).unwrap_err().contains("expected an address such as"), "{wrong}");
        }
    }
}
