//! The gate, shown what it has to refuse and what it has to let pass.

#![allow(clippy::unwrap_used)]

mod breaking_edits;
mod command;
mod compatible_edits;
mod configuration;
mod edits;
mod release;
mod rules;
mod store;
mod witnesses;
