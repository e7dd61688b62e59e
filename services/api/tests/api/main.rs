//! The api service over HTTP, with a scripted db service behind it.

#![allow(clippy::unwrap_used)] // in tests a failure is a panic

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod conditions;
mod connections;
mod cors;
mod edge;
mod failures;
mod floods;
mod headers;
mod identity;
mod operations;
mod pages;
mod proxies;
mod replicas;
mod rotation;
mod stopping;
mod tokens;
mod traces;
mod writes;
