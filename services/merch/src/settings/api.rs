use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use clap::Args;
use merch_api::{CorsOrigins, TrustedProxies};
use merch_chassis::StartError;

use super::{
    common::ProcessSettings,
    values::{self, Secret},
};

pub(super) const MAX_RATE: NonZeroU32 = NonZeroU32::new(1_000_000).expect("not zero");

#[derive(Debug, Args)]
pub(crate) struct Api {
    /// Address of the REST API and its documentation (/docs)
    #[arg(
        long,
        env = "MERCH_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        value_parser = values::address,
        help_heading = "Addresses"
    )]
    pub(crate) listen: SocketAddr,
    /// Cost of a password hash: scrypt's N as a power of two, 10 to 22. 17 takes 128 MiB and about
    /// a third of a second; each step doubles both. Use less than 17 only in tests
    #[arg(
        long,
        env = "MERCH_HASH_COST",
        value_name = "LOG2 N",
        default_value = "17",
        value_parser = values::integer(10..=22_u8),
        help_heading = "Identity"
    )]
    pub(crate) hash_cost: u8,
    /// Concurrent password hashes, each with its own memory [default: one for each core]
    #[arg(
        long,
        env = "MERCH_HASH_CONCURRENCY",
        value_name = "NUMBER",
        value_parser = values::integer(1..=256_u16),
        help_heading = "Identity"
    )]
    pub(crate) hash_concurrency: Option<u16>,
    /// Log-ins per minute from one client address, which many people may share
    #[arg(
        long,
        env = "MERCH_LOG_IN_ADDRESS_RATE",
        value_name = "A MINUTE",
        default_value = "300",
        value_parser = values::integer(NonZeroU32::MIN..=MAX_RATE),
        help_heading = "Identity"
    )]
    pub(crate) log_in_address_rate: NonZeroU32,
    /// Registrations per minute from one client address, which many people may share
    #[arg(
        long,
        env = "MERCH_REGISTRATION_ADDRESS_RATE",
        value_name = "A MINUTE",
        default_value = "60",
        value_parser = values::integer(NonZeroU32::MIN..=MAX_RATE),
        help_heading = "Identity"
    )]
    pub(crate) registration_address_rate: NonZeroU32,
    /// Orders, cancellations and profile changes per minute of one user
    #[arg(
        long,
        env = "MERCH_WRITE_RATE",
        value_name = "A MINUTE",
        default_value = "300",
        value_parser = values::integer(NonZeroU32::MIN..=MAX_RATE),
        help_heading = "Limits"
    )]
    pub(crate) write_rate: NonZeroU32,
    /// Open connections of one client address (IPv6: one /64). Trusted proxies have no limit
    /// [default: a quarter of all, 4096]
    #[arg(
        long,
        env = "MERCH_CONNECTIONS_PER_ADDRESS",
        value_name = "NUMBER",
        value_parser = values::integer(1..=65_535_u16),
        help_heading = "Limits"
    )]
    pub(crate) connections_per_address: Option<u16>,
    /// Maximum size of a request body, in bytes or such as 64KiB
    #[arg(
        long,
        env = "MERCH_BODY_LIMIT",
        value_name = "BYTES",
        default_value = "64KiB",
        value_parser = values::bytes,
        help_heading = "Limits"
    )]
    pub(crate) body_limit: usize,
    /// Maximum size of all request headers, in bytes or such as 16KiB
    #[arg(
        long,
        env = "MERCH_HEADER_LIMIT",
        value_name = "BYTES",
        default_value = "16KiB",
        value_parser = values::bytes,
        help_heading = "Limits"
    )]
    pub(crate) header_limit: usize,
    /// Time limit of a request, such as 15s; has to be greater than --grpc-deadline
    #[arg(
        long,
        env = "MERCH_REQUEST_TIMEOUT",
        value_name = "TIME",
        default_value = "15s",
        value_parser = values::duration,
        help_heading = "Limits"
    )]
    pub(crate) request_timeout: Duration,
    /// Origins whose browser applications may use the API: https://shop.example,…; or * for every
    /// origin, without credentials
    #[arg(
        long,
        env = "MERCH_CORS_ORIGINS",
        value_name = "ORIGIN,…",
        value_parser = values::origins,
        help_heading = "Addresses"
    )]
    pub(crate) cors_origins: Option<CorsOrigins>,
    /// Proxies whose X-Forwarded-For, X-Request-Id and traceparent are trusted: addresses, networks
    /// such as 10.0.0.0/8, or host names, which are resolved every second; separated by commas.
    /// If set, these headers are ignored in requests from all other clients
    #[arg(
        long,
        env = "MERCH_TRUSTED_PROXIES",
        value_name = "PROXY,…",
        value_parser = values::proxies,
        help_heading = "Addresses"
    )]
    pub(crate) trusted_proxies: Option<TrustedProxies>,
}

impl Api {
    /// Checks settings against each other.
    pub(crate) fn check(&self, role: &ProcessSettings) -> Result<(), StartError> {
        if self.request_timeout <= role.grpc_deadline {
            return Err(StartError::new(format!(
                "--request-timeout (MERCH_REQUEST_TIMEOUT) is {} and --grpc-deadline \
                 (MERCH_GRPC_DEADLINE) is {}; expected a timeout greater than the deadline",
                humantime::format_duration(self.request_timeout),
                humantime::format_duration(role.grpc_deadline),
            )));
        }
        Ok(())
    }
}

/// The keys of tokens. The whole store creates a signing key if none is set; `merch api` requires
/// one, because all replicas need the same.
#[derive(Debug, Args)]
pub(crate) struct TokenKeys {
    /// The key that signs tokens, at least 32 random bytes. Prefer --jwt-key-file or the variable
    #[arg(
        long,
        env = "MERCH_JWT_KEY",
        value_name = "KEY",
        hide_env_values = true,
        help_heading = "Identity"
    )]
    pub(crate) jwt_key: Option<Secret>,
    /// A file with that key [default: a generated file in the data directory for the whole store;
    /// `merch api` requires a key]
    #[arg(
        long,
        env = "MERCH_JWT_KEY_FILE",
        value_name = "FILE",
        value_parser = values::path("file"),
        help_heading = "Identity"
    )]
    pub(crate) jwt_key_file: Option<PathBuf>,
    /// Keys that only verify tokens: the next signing key, and the previous one until its tokens
    /// expire; separated by commas or line breaks
    #[arg(
        long,
        env = "MERCH_JWT_VERIFY_KEY",
        value_name = "KEY,…",
        hide_env_values = true,
        help_heading = "Identity"
    )]
    pub(crate) jwt_verify_key: Option<Secret>,
    /// A file with those keys; may be empty
    #[arg(
        long,
        env = "MERCH_JWT_VERIFY_KEY_FILE",
        value_name = "FILE",
        value_parser = values::path("file"),
        help_heading = "Identity"
    )]
    pub(crate) jwt_verify_key_file: Option<PathBuf>,
}
