//! Tests of the gate against breaking changes.

#![allow(clippy::unwrap_used)]

mod breaking_edits;
mod checkout;
mod command;
mod compatible_edits;
mod configuration;
mod detection;
mod edits;
mod own_rules;
mod release;
