//! The contracts of the SUSTech Merch Store and everything that is generated from them.
//!
//! `openapi.yaml` and `proto/` are the source of truth; the code under `gen/` is compiled from them
//! by `build.rs`, committed, and never edited. One feature for each consumer, so that a user of the
//! client compiles no server:
//!
//! | feature | module | for |
//! |---|---|---|
//! | `rest-server` | [`rest::server`] | a poem-openapi server: one trait for each tag of `openapi.yaml` |
//! | `rest-client` | [`sdk`], [`rest::client`] | a typed HTTP client, and what every caller needs around it |
//! | `rest-cli` | [`rest::cli`] | the command line over that client |
//! | `rest-mock` | [`rest::mock`] | typed expectations for `httpmock` |
//! | `loopback` | [`loopback`] | HTTP clients that ask no proxy for this machine; part of `rest-client` |
//! | `grpc` | [`grpc`] | tonic clients and servers, and the JSON mapping of log events |
//! | `generate` | – | compiles `gen/` anew when a contract has changed; for members of this workspace |

/// The REST contract, word for word as it stands in `openapi.yaml`.
pub const OPENAPI_YAML: &str = include_str!("../openapi.yaml");

/// What is generated from `openapi.yaml`.
#[path = "../gen/rest"] // `gen` is a keyword, so that no module can have its name
pub mod rest {
    /// The server: traits to implement, types, and the poem-openapi glue.
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

    /// Typed expectations and answers for `httpmock`.
    #[cfg(feature = "rest-mock")]
    #[allow(clippy::all, clippy::unwrap_used, missing_docs, unused_qualifications, elided_lifetimes_in_paths)]
    #[rustfmt::skip]
    #[path = "mock.rs"]
    pub mod mock;

    /// The client as the generated command line imports it. progenitor asks that each answer be a
    /// `schemars::JsonSchema` and makes no use of it: this trait stands in, so that users of the
    /// client compile no schemars.
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

/// What is generated from `proto/`.
#[cfg(feature = "grpc")]
#[path = "../gen/grpc"]
pub mod grpc {
    /// The operator's contract, on the db service's port.
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

    /// The logging service's contract; its messages also serialise to proto3 JSON through `serde`.
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
}

#[cfg(feature = "loopback")]
pub mod loopback;

#[cfg(feature = "rest-client")]
pub mod sdk;

#[cfg(feature = "grpc")]
mod redacted;
