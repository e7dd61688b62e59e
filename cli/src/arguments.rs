use std::{any::TypeId, num::NonZeroU32, str::FromStr};

use clap::{Arg, ArgAction, ArgMatches, Command, builder::ValueParser};
use merch_contract::rest::{
    cli::CliCommand,
    client::types::{OrderId, ProductId, UserId},
};

use crate::{
    operations::{generated_command, subcommand_name},
    passwords,
};

const AFTER_HELP: &str = "\
Examples:
  merch-cli register --sid 12110304 --username alice --email alice@example.com
  export MERCH_TOKEN=$(merch-cli --raw access_token log-in --username alice)
  merch-cli place-order --product-id 1 --quantity 2

Responses are JSON on standard output. Errors go to standard error, with exit code 1.";

/// Passwords are optional here; [`passwords::complete`] reads them.
pub(crate) fn command() -> Command {
    Command::new("merch-cli")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The SUSTech Merch Store from the command line")
        .after_help(AFTER_HELP)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(global_options().map(|argument| argument.help_heading("Global options")))
        .subcommands(
            CliCommand::iter().map(|operation| generated_command(operation).mut_args(customize)),
        )
}

pub(crate) fn operation(matches: &ArgMatches) -> Option<(CliCommand, &ArgMatches)> {
    let (name, matches) = matches.subcommand()?;
    let operation = CliCommand::iter().find(|operation| subcommand_name(*operation) == name)?;
    Some((operation, matches))
}

fn customize(argument: Arg) -> Arg {
    if passwords::is_password(&argument) {
        passwords::optional(&argument)
    } else if argument.get_id() == "json-body-template" {
        // progenitor defines this flag but does not implement it.
        argument
            .hide(true)
            .action(ArgAction::Set)
            .num_args(0..=1)
            .default_missing_value("")
            .value_parser(reject_template)
    } else if argument.get_id() == "json-body" {
        argument.help("A file with the request body as JSON, instead of the options")
    } else {
        with_plain_errors(argument)
    }
}

/// The generated parsers have the errors of the Rust parsers.
fn with_plain_errors(argument: Arg) -> Arg {
    const NUMBER: &str = "expected a whole number, at least 1";
    const UUID: &str = "expected a UUID such as 0192f0c1-7b5e-7c3a-9d2e-1f6a5b4c3d2e";
    let read = argument.get_value_parser().type_id();
    let parser = if read == TypeId::of::<NonZeroU32>() {
        parser_expecting::<NonZeroU32>(NUMBER)
    } else if read == TypeId::of::<ProductId>() {
        parser_expecting::<ProductId>(NUMBER)
    } else if read == TypeId::of::<OrderId>() {
        parser_expecting::<OrderId>(UUID)
    } else if read == TypeId::of::<UserId>() {
        parser_expecting::<UserId>(UUID)
    } else {
        return argument;
    };
    argument.value_parser(parser)
}

fn parser_expecting<T: FromStr + Clone + Send + Sync + 'static>(
    expected: &'static str,
) -> ValueParser {
    ValueParser::new(move |text: &str| text.parse::<T>().map_err(|_| expected))
}

fn reject_template(_: &str) -> Result<bool, String> {
    Err("templates are not supported; see the examples at `/docs` on the store's address"
        .to_owned())
}

fn global_options() -> [Arg; 4] {
    [
        Arg::new("url")
            .long("url")
            .env("MERCH_URL")
            .global(true)
            .value_name("URL")
            .default_value("http://127.0.0.1:8080")
            .value_parser(parse_url)
            .help("The store's URL"),
        Arg::new("token")
            .long("token")
            .env("MERCH_TOKEN")
            .hide_env_values(true)
            .global(true)
            .value_name("TOKEN")
            .help(
                "The access token from log-in. Prefer the variable: other users of this machine \
                 can see options",
            ),
        Arg::new("raw")
            .long("raw")
            .global(true)
            .value_name("MEMBER")
            .help("Print only this member of the response, without quotes: `--raw access_token`"),
        Arg::new("verbose")
            .long("verbose")
            .short('v')
            .global(true)
            .action(ArgAction::SetTrue)
            .help("Print the status, ETag, Location and request id on standard error"),
    ]
}

fn parse_url(text: &str) -> Result<reqwest::Url, String> {
    let expected = "expected an address such as http://127.0.0.1:8080";
    let url = reqwest::Url::parse(text).map_err(|error| format!("{error}; {expected}"))?;
    if !matches!(url.scheme(), "http" | "https")
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(expected.to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_valid() {
        command().debug_assert();
    }

    #[test]
    fn every_operation_has_a_subcommand() {
        for operation in CliCommand::iter() {
            let name = subcommand_name(operation);
            assert!(
                command().find_subcommand(&name).is_some_and(|found| found.get_about().is_some()),
                "{name}"
            );
        }
    }

    #[test]
    fn invalid_values_are_explained_in_plain_words() {
        for (line, option, expected) in [
            ("list-products --limit 0", "--limit", "expected a whole number, at least 1"),
            ("list-orders --limit many", "--limit", "expected a whole number, at least 1"),
            ("get-product --product-id -1", "--product-id", "expected a whole number, at least 1"),
            (
                "place-order --product-id 1 --quantity 1e3",
                "--quantity",
                "expected a whole number, at least 1",
            ),
            ("get-order --order-id zzz", "--order-id", "expected a UUID such as"),
            ("get-user --user-id 7", "--user-id", "expected a UUID such as"),
        ] {
            // A number that starts with `-` looks like an option.
            let line = line.replace(" -1", "=-1");
            let error = command()
                .try_get_matches_from(["merch-cli"].into_iter().chain(line.split(' ')))
                .unwrap_err()
                .to_string();
            assert!(error.contains(option) && error.contains(expected), "{line}: {error}");
        }
        let fitting =
            command().try_get_matches_from(["merch-cli", "list-products", "--limit", "7"]).unwrap();
        let (_, fitting) = operation(&fitting).unwrap();
        assert_eq!(fitting.get_one("limit"), NonZeroU32::new(7).as_ref());
    }

    #[test]
    fn only_http_urls_are_accepted() {
        assert!(parse_url("https://shop.example/merch/").is_ok());
        for wrong in ["127.0.0.1:8080", "ftp://x", "http://x/?a", ""] {
            assert!(
                parse_url(wrong).unwrap_err().contains("expected an address such as"),
                "{wrong}"
            );
        }
    }
}
