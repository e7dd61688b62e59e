//! Settings of the REST gateway.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use clap::Args;
use merch_api::{CorsOrigins, TrustedProxies};
use merch_chassis::StartError;

use super::{
    common::Role,
    values::{self, Secret},
};

/// More than that is no limit.
pub(super) const MOST_LOG_INS: NonZeroU32 = NonZeroU32::new(1_000_000).expect("not zero");

/// What the gateway listens on, allows, and spends on a password.
#[derive(Debug, Args)]
pub(crate) struct Api {
    /// Where the REST API and its documentation (/docs) are served
    #[arg(long, env = "MERCH_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = values::address, help_heading = "Addresses")]
    pub(crate) listen: SocketAddr,
    /// The cost of a password's hash: scrypt's N as a power of two, 10 to 22. 17 takes 128 MiB and
    /// about a third of a second, each step more twice as much; less than 17 is for tests
    #[arg(long, env = "MERCH_HASH_COST", value_name = "LOG2 N", default_value = "17", value_parser = values::whole(10..=22_u8), help_heading = "Identity")]
    pub(crate) hash_cost: u8,
    /// How many passwords are hashed at once, each with its own memory [default: one for each core]
    #[arg(long, env = "MERCH_HASH_CONCURRENCY", value_name = "NUMBER", value_parser = values::whole(1..=256_u16), help_heading = "Identity")]
    pub(crate) hash_concurrency: Option<u16>,
    /// How many log-ins a minute may come from one address; many people may be behind one
    #[arg(long, env = "MERCH_LOG_IN_ADDRESS_RATE", value_name = "A MINUTE", default_value = "300", value_parser = values::whole(NonZeroU32::MIN..=MOST_LOG_INS), help_heading = "Identity")]
    pub(crate) log_in_address_rate: NonZeroU32,
    /// How many registrations a minute may come from one address; many people may be behind one
    #[arg(long, env = "MERCH_REGISTRATION_ADDRESS_RATE", value_name = "A MINUTE", default_value = "60", value_parser = values::whole(NonZeroU32::MIN..=MOST_LOG_INS), help_heading = "Identity")]
    pub(crate) registration_address_rate: NonZeroU32,
    /// How many orders, cancellations and changes of the own data one user may send a minute
    #[arg(long, env = "MERCH_WRITE_RATE", value_name = "A MINUTE", default_value = "300", value_parser = values::whole(NonZeroU32::MIN..=MOST_LOG_INS), help_heading = "Limits")]
    pub(crate) write_rate: NonZeroU32,
    /// How many connections one client address may have open; for IPv6, one /64. Trusted proxies
    /// have no limit [default: a quarter of all, 4096]
    #[arg(long, env = "MERCH_CONNECTIONS_PER_ADDRESS", value_name = "NUMBER", value_parser = values::whole(1..=65_535_u16), help_heading = "Limits")]
    pub(crate) connections_per_address: Option<u16>,
    /// How long the body of a request may be, in bytes or such as 64KiB
    #[arg(long, env = "MERCH_BODY_LIMIT", value_name = "BYTES", default_value = "64KiB", value_parser = values::bytes, help_heading = "Limits")]
    pub(crate) body_limit: usize,
    /// How long the headers of a request may be together, in bytes or such as 16KiB
    #[arg(long, env = "MERCH_HEADER_LIMIT", value_name = "BYTES", default_value = "16KiB", value_parser = values::bytes, help_heading = "Limits")]
    pub(crate) header_limit: usize,
    /// How long a request may take until it is answered, such as 15s; more than a call between the
    /// services
    #[arg(long, env = "MERCH_REQUEST_TIMEOUT", value_name = "TIME", default_value = "15s", value_parser = values::duration, help_heading = "Limits")]
    pub(crate) request_timeout: Duration,
    /// Other origins whose browser applications may use the API: https://shop.example,…, or * for
    /// every origin, without credentials
    #[arg(long, env = "MERCH_CORS_ORIGINS", value_name = "ORIGIN,…", value_parser = values::origins, help_heading = "Addresses")]
    pub(crate) cors_origins: Option<CorsOrigins>,
    /// Proxies in front of this gateway whose word is taken for where a request comes from:
    /// addresses, networks such as 10.0.0.0/8 or host names, with commas between them; names are
    /// looked up again each second. Once set, others' X-Request-Id and traceparent are not taken
    /// any more
    #[arg(long, env = "MERCH_TRUSTED_PROXIES", value_name = "PROXY,…", value_parser = values::proxies, help_heading = "Addresses")]
    pub(crate) trusted_proxies: Option<TrustedProxies>,
}

impl Api {
    /// What no single setting shows.
    ///
    /// # Errors
    /// When settings contradict each other.
    pub(crate) fn check(&self, role: &Role) -> Result<(), StartError> {
        if self.request_timeout <= role.grpc_deadline {
            return Err(StartError::new(format!(
                "a request may take {} (--request-timeout, MERCH_REQUEST_TIMEOUT) and a call that it makes {} (--grpc-deadline, MERCH_GRPC_DEADLINE); expected more for the request than for the call",
                humantime::format_duration(self.request_timeout),
                humantime::format_duration(role.grpc_deadline),
            )));
        }
        Ok(())
    }
}

/// The keys of tokens. The whole store makes the one that signs and keeps it in the data folder if
/// none is set; `merch api` asks for one, as all of its replicas need the same.
#[derive(Debug, Args)]
pub(crate) struct TokenKeys {
    /// The key that signs tokens, at least 32 random bytes. Better: --jwt-key-file, or the variable
    #[arg(
        long,
        env = "MERCH_JWT_KEY",
        value_name = "KEY",
        hide_env_values = true,
        help_heading = "Identity"
    )]
    pub(crate) jwt_key: Option<Secret>,
    /// A file that holds that key. Neither set: the whole store makes one and keeps it in the data
    /// folder, `merch api` does not start
    #[arg(long, env = "MERCH_JWT_KEY_FILE", value_name = "FILE", value_parser = values::path("file"), help_heading = "Identity")]
    pub(crate) jwt_key_file: Option<PathBuf>,
    /// Keys that verify tokens and never sign: the next one, and the one before until its tokens
    /// have expired. Several with commas or line breaks between
    #[arg(
        long,
        env = "MERCH_JWT_VERIFY_KEY",
        value_name = "KEY,…",
        hide_env_values = true,
        help_heading = "Identity"
    )]
    pub(crate) jwt_verify_key: Option<Secret>,
    /// A file that holds those keys; an empty one holds none
    #[arg(long, env = "MERCH_JWT_VERIFY_KEY_FILE", value_name = "FILE", value_parser = values::path("file"), help_heading = "Identity")]
    pub(crate) jwt_verify_key_file: Option<PathBuf>,
}
