//! The contracts of the SUSTech Merch Store and the code generated from them.
//!
//! `openapi.yaml` and `proto/` are the source of truth. `build.rs` generates `gen/` from them;
//! never edit it. Each consumer has a feature, so that a client compiles no server:
//!
//! | feature | module | content |
//! |---|---|---|
//! | `rest-server` | [`rest::server`] | a poem-openapi server: a trait for each tag of `openapi.yaml` |
//! | `rest-client` | [`sdk`], [`rest::client`] | a typed HTTP client with retries and typed errors |
//! | `rest-cli` | [`rest::cli`] | the command line over that client |
//! | `rest-mock` | `rest::mock` | typed expectations for `httpmock` |
//! | `loopback` | [`loopback`] | HTTP clients that use no proxy for loopback URLs; part of `rest-client` |
//! | `grpc` | [`grpc`], [`validation`] | tonic clients and servers, the rules of requests, and the JSON mapping of log events |
//! | `generate` | – | regenerates `gen/`; for members of this workspace |

/// The text of `openapi.yaml`.
pub const OPENAPI_YAML: &str = include_str!("../openapi.yaml");

/// The code generated from `openapi.yaml`.
#[path = "../gen/rest"] // `gen` is a keyword
pub mod rest {
    /// The server: traits to implement, types, and a poem-openapi service.
    #[cfg(feature = "rest-server")]
    #[rustfmt::skip]
    #[path = "server.rs"]
    pub mod server;

    /// The client.
    #[cfg(feature = "rest-client")]
    #[allow(clippy::all, clippy::unwrap_used, missing_docs, unused_qualifications, elided_lifetimes_in_paths, unreachable_patterns)]
    #[rustfmt::skip]
    #[path = "client.rs"]
    pub mod client;

    /// Typed expectations and responses for `httpmock`.
    #[cfg(feature = "rest-mock")]
    #[allow(clippy::all, clippy::unwrap_used, missing_docs, unused_qualifications, elided_lifetimes_in_paths)]
    #[rustfmt::skip]
    #[path = "mock.rs"]
    pub mod mock;

    /// The client for the generated command line. progenitor requires each response to implement
    /// `schemars::JsonSchema` and does not use it. This trait replaces it, so that clients do not
    /// compile schemars.
    #[cfg(feature = "rest-cli")]
    mod client_for_cli {
        pub(crate) use super::client::*;

        pub(crate) mod schemars {
            pub trait JsonSchema {}
            impl<T> JsonSchema for T {}
        }
    }

    /// The command line over the client.
    #[cfg(feature = "rest-cli")]
    #[allow(clippy::all, clippy::unwrap_used, missing_docs, unused_qualifications, elided_lifetimes_in_paths, unused_variables)]
    #[rustfmt::skip]
    #[path = "cli.rs"]
    pub mod cli;
}

/// The code generated from `proto/`.
#[cfg(feature = "grpc")]
#[path = "../gen/grpc"]
pub mod grpc {
    /// The operator's contract, served on the db service's port.
    #[path = ""]
    pub mod admin {
        /// `merch.admin.v1`
        #[allow(clippy::all, clippy::unwrap_used, missing_docs)]
        #[rustfmt::skip]
        #[path = "merch.admin.v1.rs"]
        pub mod v1;
    }

    /// The db service's contract.
    #[path = ""]
    pub mod assistant {
        /// `merch.assistant.v1`
        #[allow(clippy::all, clippy::unwrap_used, missing_docs)]
        #[rustfmt::skip]
        #[path = "merch.assistant.v1.rs"]
        pub mod v1;
    }

    /// The logging service's contract. Its messages serialize to proto3 JSON with `serde`.
    #[path = ""]
    pub mod logging {
        /// `merch.logging.v1`
        #[allow(clippy::all, clippy::unwrap_used, missing_docs)]
        #[rustfmt::skip]
        #[path = "merch.logging.v1.rs"]
        pub mod v1;

        #[allow(clippy::all, clippy::unwrap_used, missing_docs)]
        #[rustfmt::skip]
        #[path = "merch.logging.v1.serde.rs"]
        mod v1_serde;
    }

    #[rustfmt::skip]
    #[path = "descriptor.rs"]
    mod descriptor;
    pub use descriptor::{FILE_DESCRIPTOR_SET, FILE_DESCRIPTOR_SET_WITH_ADMIN};
    #[allow(clippy::all, unused_imports, unused_variables)]
    #[rustfmt::skip]
    #[path = "validation.rs"]
    mod validation;
}

#[cfg(feature = "loopback")]
pub mod loopback;

#[cfg(feature = "rest-client")]
pub mod sdk;

#[cfg(feature = "grpc")]
mod error_reason;
#[cfg(feature = "grpc")]
mod redacted;
#[cfg(feature = "grpc")]
pub mod validation;
