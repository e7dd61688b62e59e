//! Compiles an OpenAPI 3.0 document to a poem-openapi server.
//!
//! The way of a document: its text is *parsed* ([`openapiv3`], with the raw document beside it,
//! because `openapiv3` drops keywords that it does not know without a word), *read* into a model of
//! its own, and *emitted* as Rust. What the model cannot express is refused, with the JSON pointer
//! of the construct: nothing is silently dropped. `README.md` shows the shape of the output and
//! lists what is refused.
//!
//! [`drift::compare`] holds the document that the server emits against the one that it was compiled
//! from.

pub mod drift;
mod emit;
mod error;
pub mod gaps;
mod model;
mod names;
mod parse;
mod read;
mod status;

pub use error::{Error, Refusal};

/// How the generated file speaks about itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file that the document is in, for the first line.
    pub source: String,
    /// The command that generates the file anew, for the first line.
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

/// Compiles a document, YAML or JSON, to the text of a Rust module.
///
/// # Errors
/// Every construct of the document that cannot be compiled.
pub fn generate(document: &str) -> Result<String, Error> {
    generate_with(document, &Options::default())
}

/// [`generate`], with another first line.
///
/// # Errors
/// Every construct of the document that cannot be compiled.
pub fn generate_with(document: &str, options: &Options) -> Result<String, Error> {
    let document = parse::parse(document)?;
    let api = read::read(&document)?;
    Ok(emit::emit(&api, options))
}
