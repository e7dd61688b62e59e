//! `poem-contract openapi.yaml > server.rs`.

use std::{
    fs,
    io::{self, Read as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use command_output::{OutputError, eprint_line, parsed};
use poem_contract::{Options, generate_with};

/// Compiles an OpenAPI 3.0 document to a poem-openapi server and writes it to standard output.
///
/// Reports each construct that cannot be compiled on its own line of standard error, with its JSON
/// pointer, and exits with status 1.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The document, YAML or JSON; `-` reads standard input.
    document: PathBuf,
    /// Write to this file instead. An error leaves it unchanged.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = match parsed(Arguments::try_parse()) {
        Ok(arguments) => arguments,
        Err(exit_code) => return exit_code,
    };
    match run(&arguments) {
        Ok(printed) => printed.map_or_else(|error| error.report(), |()| ExitCode::SUCCESS),
        Err(error) => {
            eprint_line(error);
            ExitCode::FAILURE
        }
    }
}

/// Returns whether the generated code was written.
///
/// # Errors
/// If the document cannot be read or compiled, or the file cannot be written.
fn run(arguments: &Arguments) -> Result<Result<(), OutputError>, String> {
    let name = arguments.document.display();
    let mut text = String::new();
    let read = if arguments.document.as_os_str() == "-" {
        io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        fs::read_to_string(&arguments.document).map(|read| text = read)
    };
    read.map_err(|error| format!("cannot read {name}: {error}"))?;
    let options = match arguments.document.file_name() {
        Some(name) if name != "-" => {
            let source = name.to_string_lossy().into_owned();
            Options { command: format!("poem-contract {source} > server.rs"), source }
        }
        Some(_) | None => Options::default(),
    };
    let generated = generate_with(&text, &options)
        .map_err(|error| format!("cannot compile {name}:\n{error}"))?;
    match &arguments.output {
        Some(path) => fs::write(path, generated)
            .map(Ok)
            .map_err(|error| format!("cannot write {}: {error}", path.display())),
        None => Ok(command_output::write(&generated)),
    }
}
