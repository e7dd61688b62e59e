//! Environment variables in errors, and those that no setting reads.

use clap::{
    Arg, Command, CommandFactory as _,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};

use super::Arguments;

const PREFIX: &str = "MERCH_";

/// Variables of `merch-cli` and of the tests.
fn is_exempt(name: &str) -> bool {
    matches!(name, "MERCH_URL" | "MERCH_TOKEN") || name.starts_with("MERCH_TEST_")
}

pub(crate) fn with_variable_names(mut error: Error) -> Error {
    if !matches!(
        error.kind(),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue | ErrorKind::MissingRequiredArgument
    ) {
        return error;
    }
    let named = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) => ContextValue::String(with_variable(option)),
        Some(ContextValue::Strings(options)) => {
            ContextValue::Strings(options.iter().map(|option| with_variable(option)).collect())
        }
        Some(_) | None => return error,
    };
    error.insert(ContextKind::InvalidArg, named);
    error
}

/// `--hash-cost <LOG2 N> (MERCH_HASH_COST)`
fn with_variable(option: &str) -> String {
    let long = option.split([' ', '=', '[']).next().and_then(|long| long.strip_prefix("--"));
    let everything = Arguments::command();
    let variable = commands(&everything)
        .flat_map(Command::get_arguments)
        .find(|argument| argument.get_long() == long)
        .and_then(variable_of);
    variable.map_or_else(|| option.to_owned(), |variable| format!("{option} ({variable})"))
}

/// Returns a message for the variables among `names` that no setting reads, and one for those that
/// the whole store ignores (`whole_store`). Roles often share an environment; the whole store does
/// not.
pub(crate) fn unused_variables(
    names: impl IntoIterator<Item = String>,
    whole_store: bool,
) -> Vec<String> {
    let everything = Arguments::command();
    let of_any = |name: &str| commands(&everything).any(|command| reads(command, name));
    let mut ours: Vec<_> =
        names.into_iter().filter(|name| name.starts_with(PREFIX) && !is_exempt(name)).collect();
    ours.sort_unstable();
    let (known, unknown): (Vec<_>, Vec<_>) = ours.into_iter().partition(|name| of_any(name));
    let elsewhere: Vec<_> =
        known.into_iter().filter(|name| whole_store && !reads(&everything, name)).collect();
    let mut sentences = Vec::new();
    if !elsewhere.is_empty() {
        sentences.push(format!(
            "ignored by the whole store: {}; only `merch api` and `merch db` use them",
            elsewhere.join(", ")
        ));
    }
    if !unknown.is_empty() {
        sentences.push(format!(
            "unknown, possibly misspelt: {}; `merch --help` lists all settings",
            unknown.join(", ")
        ));
    }
    sentences
}

pub(super) fn commands(everything: &Command) -> impl Iterator<Item = &Command> {
    let below = everything.get_subcommands();
    std::iter::once(everything)
        .chain(below.flat_map(|command| std::iter::once(command).chain(command.get_subcommands())))
}

fn reads(command: &Command, name: &str) -> bool {
    command.get_arguments().any(|argument| variable_of(argument) == Some(name))
}

fn variable_of(argument: &Arg) -> Option<&str> {
    argument.get_env().and_then(|variable| variable.to_str())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn error(arguments: &[&str]) -> String {
        with_variable_names(Arguments::try_parse_from(arguments).unwrap_err()).to_string()
    }

    #[test]
    fn errors_name_option_and_variable() {
        let text = error(&["merch", "--hash-cost", "x"]);
        assert!(
            text.contains(
                "invalid value 'x' for '--hash-cost <LOG2 N> (MERCH_HASH_COST)': expected a whole \
                 number from 10 to 22"
            ),
            "{text}"
        );
        let text = error(&["merch", "db", "--data-dir="]);
        assert!(
            text.contains(
                "'--data-dir <DIRECTORY> (MERCH_DATA_DIR)': expected the path of a directory"
            ),
            "{text}"
        );
        let text = error(&["merch", "api", "--nonsense"]);
        assert!(text.contains("--nonsense") && !text.contains(PREFIX), "{text}");
    }

    #[test]
    fn unused_variables_are_reported() {
        let unread = |names: &[&str], whole_store| {
            unused_variables(names.iter().map(|name| (*name).to_owned()), whole_store)
        };
        let good = [
            "PATH",
            "MERCH_LISTEN",
            "MERCH_URL",
            "MERCH_TOKEN",
            "MERCH_TEST_POSTGRES_URL",
            "MERCH_KAFKA_BROKERS",
        ];
        assert_eq!(unread(&good, true), Vec::<String>::new());
        let endpoints = ["MERCH_LOGGING_ENDPOINT", "MERCH_DB_ENDPOINT"];
        let sentences = unread(&endpoints, true);
        assert_eq!(sentences.len(), 1, "{sentences:?}");
        assert!(
            sentences[0].starts_with(
                "ignored by the whole store: MERCH_DB_ENDPOINT, MERCH_LOGGING_ENDPOINT; "
            ),
            "{sentences:?}"
        );
        assert_eq!(unread(&endpoints, false), Vec::<String>::new());
        let sentences = unread(&["MERCH_HASHCOST", "MERCH_LISTN", "MERCH_LISTEN"], false);
        assert_eq!(sentences.len(), 1, "{sentences:?}");
        assert!(sentences[0].contains("misspelt: MERCH_HASHCOST, MERCH_LISTN; "), "{sentences:?}");
    }
}
