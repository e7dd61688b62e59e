//! Reads passwords from standard input: other users and the shell's history see the command line.

use std::{
    error::Error as _,
    ffi::OsString,
    io::{BufRead, IsTerminal as _, stdin},
};

use anyhow::{Context as _, bail};
use clap::{Arg, ArgMatches, parser::ValueSource};
use merch_contract::rest::cli::CliCommand;

use crate::operations::generated_command;

const PROMPT: &str = "-";

/// `--password`, `--current-password`, `--new-password` and later options of such a name.
pub(crate) fn is_password(argument: &Arg) -> bool {
    argument.get_id().as_str().ends_with("password")
}

/// Also removes its parser, whose errors would show the value.
pub(crate) fn optional(argument: &Arg) -> Arg {
    let id = argument.get_id().to_string();
    let meaning = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let how = "If omitted or `-`: prompted for, or read as a line of standard input";
    Arg::new(id.clone())
        .long(id)
        .value_name("PASSWORD")
        .help(format!("{meaning} {how}").trim_start().to_owned())
}

/// Reads the missing passwords in the order of the help: the current one before the new one.
pub(crate) fn complete(operation: CliCommand, matches: &ArgMatches) -> anyhow::Result<ArgMatches> {
    let command = generated_command(operation);
    let whole_body = command.get_arguments().any(|argument| argument.get_id() == "json-body")
        && matches.contains_id("json-body");
    let mut line: Vec<OsString> = vec![command.get_name().into()];
    for argument in command.get_arguments() {
        let id = argument.get_id().as_str();
        if is_password(argument) {
            let given = matches.get_one::<String>(id).filter(|given| *given != PROMPT);
            let password = match given {
                Some(given) => given.clone(),
                None if whole_body => continue,
                None => {
                    prompt(id, id == "new-password" || matches!(operation, CliCommand::Register))?
                }
            };
            line.push(format!("--{id}={password}").into());
        } else if matches.value_source(id) == Some(ValueSource::CommandLine) {
            for value in matches.get_raw(id).into_iter().flatten() {
                let mut option = OsString::from(format!("--{id}="));
                option.push(value);
                line.push(option);
            }
        }
    }
    // The other arguments are already validated, so the error is about a password; clap's message
    // would show it.
    command.try_get_matches_from(line).map_err(|error| {
        let option = error
            .get(clap::error::ContextKind::InvalidArg)
            .map(ToString::to_string)
            .unwrap_or_default();
        let option = option.split(' ').next().unwrap_or_default().to_owned();
        let reason = error.source().map_or_else(|| error.kind().to_string(), ToString::to_string);
        anyhow::anyhow!("invalid value of {option}: {reason}")
    })
}

/// From the terminal without echo (a new one twice), or a line of standard input.
fn prompt(id: &str, new: bool) -> anyhow::Result<String> {
    let words = id.replace('-', " ");
    if !stdin().is_terminal() {
        return read_line(&mut stdin().lock(), id);
    }
    let mut capital = words.clone();
    capital[..1].make_ascii_uppercase();
    let password = rpassword::prompt_password(format!("{capital}: "))
        .with_context(|| format!("the {words} cannot be read from the terminal"))?;
    if new && rpassword::prompt_password("Repeat: ")? != password {
        bail!("the two passwords differ; nothing was sent");
    }
    Ok(password)
}

/// The rest stays for the next password.
fn read_line(input: &mut impl BufRead, id: &str) -> anyhow::Result<String> {
    let mut line = String::new();
    input
        .read_line(&mut line)
        .with_context(|| format!("standard input cannot be read for --{id}"))?;
    let password = line
        .strip_suffix('\n')
        .map_or(line.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if password.is_empty() {
        bail!(
            "expected a line with the value of --{id} on standard input, got none; write for \
             example `merch-cli … < file-with-the-password`"
        );
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_single_lines_with_spaces_kept() {
        let mut input = " old pass \r\nnew-pass".as_bytes();
        assert_eq!(read_line(&mut input, "current-password").unwrap(), " old pass ");
        assert_eq!(read_line(&mut input, "new-password").unwrap(), "new-pass");
        let error = read_line(&mut input, "password").unwrap_err().to_string();
        assert!(
            error.starts_with("expected a line with the value of --password on standard input"),
            "{error}"
        );
    }
}
