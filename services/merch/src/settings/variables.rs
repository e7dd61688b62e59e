//! The variables of the environment: named where a setting cannot be read, and those told of that
//! nobody reads.

use clap::{
    Arg, Command, CommandFactory as _,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};

use super::Arguments;

const PREFIX: &str = "MERCH_";

/// Those of others: `merch-cli`, and the tests.
fn is_of_others(name: &str) -> bool {
    matches!(name, "MERCH_URL" | "MERCH_TOKEN") || name.starts_with("MERCH_TEST_")
}

/// clap names only the option, although most settings come from the environment: adds the variable
/// to it.
pub(crate) fn named(mut error: Error) -> Error {
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

/// `--hash-cost <LOG2 N>` is `--hash-cost <LOG2 N> (MERCH_HASH_COST)`.
fn with_variable(option: &str) -> String {
    let long = option.split([' ', '=', '[']).next().and_then(|long| long.strip_prefix("--"));
    let everything = Arguments::command();
    let variable = commands(&everything)
        .flat_map(Command::get_arguments)
        .find(|argument| argument.get_long() == long)
        .and_then(variable_of);
    variable.map_or_else(|| option.to_owned(), |variable| format!("{option} ({variable})"))
}

/// A sentence for each of `names` that is set and not read: misspelt, or of a role that is not run
/// this way. `whole`: it is the whole store that runs, no subcommand.
///
/// What one subcommand reads may be set for another: an environment is often shared. The whole
/// store is no part of such a set of processes.
pub(crate) fn unread(names: impl IntoIterator<Item = String>, whole: bool) -> Vec<String> {
    let everything = Arguments::command();
    let of_any = |name: &str| commands(&everything).any(|command| reads(command, name));
    let mut ours: Vec<_> =
        names.into_iter().filter(|name| name.starts_with(PREFIX) && !is_of_others(name)).collect();
    ours.sort_unstable();
    let (known, unknown): (Vec<_>, Vec<_>) = ours.into_iter().partition(|name| of_any(name));
    let elsewhere: Vec<_> =
        known.into_iter().filter(|name| whole && !reads(&everything, name)).collect();
    let mut sentences = Vec::new();
    if !elsewhere.is_empty() {
        sentences.push(format!(
            "not used here: {}; the whole store has all of its services in this process, only `merch api` and `merch db` look for them elsewhere",
            elsewhere.join(", ")
        ));
    }
    if !unknown.is_empty() {
        sentences.push(format!(
            "no setting of the store, misspelt perhaps: {}; `merch --help` lists them all",
            unknown.join(", ")
        ));
    }
    sentences
}

/// `merch`, its subcommands, and theirs.
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
        named(Arguments::try_parse_from(arguments).unwrap_err()).to_string()
    }

    #[test]
    fn an_error_names_option_and_variable() {
        let text = error(&["merch", "--hash-cost", "x"]);
        assert!(
            text.contains("invalid value 'x' for '--hash-cost <LOG2 N> (MERCH_HASH_COST)': expected a whole number from 10 to 22"),
            "{text}"
        );
        let text = error(&["merch", "db", "--data-dir="]);
        assert!(
            text.contains("'--data-dir <FOLDER> (MERCH_DATA_DIR)': expected the path of a folder"),
            "{text}"
        );
        let text = error(&["merch", "api", "--nonsense"]);
        assert!(text.contains("--nonsense") && !text.contains(PREFIX), "{text}");
    }

    #[test]
    fn what_nobody_reads_is_told() {
        let unread =
            |names: &[&str], whole| unread(names.iter().map(|name| (*name).to_owned()), whole);
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
            sentences[0].starts_with("not used here: MERCH_DB_ENDPOINT, MERCH_LOGGING_ENDPOINT; "),
            "{sentences:?}"
        );
        assert_eq!(unread(&endpoints, false), Vec::<String>::new());
        let sentences = unread(&["MERCH_HASHCOST", "MERCH_LISTN", "MERCH_LISTEN"], false);
        assert_eq!(sentences.len(), 1, "{sentences:?}");
        assert!(sentences[0].contains("perhaps: MERCH_HASHCOST, MERCH_LISTN; "), "{sentences:?}");
    }
}
