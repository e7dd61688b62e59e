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

/// Compiles an OpenAPI 3.0 document to a poem-openapi server and writes it to the standard output.
///
/// What cannot be compiled is refused: each construct on a line of its own, with its JSON pointer
/// and the reason, and exit status 1.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The document, YAML or JSON; `-` reads the standard input.
    document: PathBuf,
    /// Write to this file instead, and only if everything could be compiled.
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

/// Whether the generated code got to standard output, or to the file.
///
/// # Errors
/// Why there is none.
fn run(arguments: &Arguments) -> Result<Result<(), OutputError>, String> {
    let name = arguments.document.display();
    let mut text = String::new();
    let read = if arguments.document.as_os_str() == "-" {
        io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        fs::read_to_string(&arguments.document).map(|read| text = read)
    };
    read.map_err(|error| format!("{name} cannot be read: {error}"))?;
    let options = match arguments.document.file_name() {
        Some(name) if name != "-" => {
            let source = name.to_string_lossy().into_owned();
            Options { command: format!("poem-contract {source} > server.rs"), source }
        }
        Some(_) | None => Options::default(),
    };
    let generated = generate_with(&text, &options)
        .map_err(|error| format!("{name} cannot be compiled:\n{error}"))?;
    match &arguments.output {
        Some(path) => fs::write(path, generated)
            .map(Ok)
            .map_err(|error| format!("{} cannot be written: {error}", path.display())),
        None => Ok(command_output::write(&generated)),
    }
}
