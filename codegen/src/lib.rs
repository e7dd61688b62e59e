//! Compiles an OpenAPI 3.0 document to a poem-openapi server.
//!
//! [`generate`] *parses* the text, *lowers* the document to a model, and *emits* the model as Rust.
//! In addition to `openapiv3`'s typed document, which drops unknown keywords, it keeps the raw one.
//! A construct that the model cannot express is an error with its JSON pointer. `README.md`
//! describes the output and the supported constructs.
//!
//! [`drift::compare`] compares the document that the server emits with its source.

pub mod drift;
mod emit;
mod error;
pub mod gaps;
mod lower;
mod model;
mod names;
mod parse;

pub use error::{Diagnostic, Error};

/// The names in the first line of the output.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file name of the document.
    pub source: String,
    /// The command that regenerates the output.
    pub command: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            source: "openapi.yaml".to_owned(),
            command: "poem-contract openapi.yaml > server.rs".to_owned(),
        }
    }
}

/// Compiles a document, YAML or JSON, to a Rust module.
///
/// # Errors
/// A diagnostic for each construct that cannot be compiled.
pub fn generate(document: &str) -> Result<String, Error> {
    generate_with(document, &Options::default())
}

/// Like [`generate`], with other names in the first line.
///
/// # Errors
/// A diagnostic for each construct that cannot be compiled.
pub fn generate_with(document: &str, options: &Options) -> Result<String, Error> {
    let document = parse::parse(document)?;
    let api = lower::lower(&document)?;
    Ok(emit::emit(&api, options))
}
