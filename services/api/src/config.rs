//! Settings. This crate reads no environment variables.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    thread::available_parallelism,
    time::Duration,
};

use merch_logging::client::{journal::JournalOptions, rate_limit::EventRateLimits};

use crate::{
    identity::{Cost, Rate, SigningKey},
    middleware::CorsOrigins,
    proxies::TrustedProxies,
};

/// The settings of the api service.
#[derive(Clone, Debug)]
pub struct Config {
    /// URI of the db service: `https://db:50051`, `unix:/path`.
    pub db_endpoint: String,
    /// URI of the logging service: `https://logging:50052`, `unix:/path`.
    pub logging_endpoint: String,
    /// The TLS identity of this process and the transports that it may use.
    pub transport: merch_chassis::grpc::Transport,
    /// Directory of this process's event journal; created if it is missing.
    pub journal_dir: PathBuf,
    /// Whether replicas share the location of their journals. Each replica takes the first unlocked
    /// directory of `journal_dir`, `journal_dir-2`, and so on, and ships orphaned journals. The
    /// file system must support locks.
    pub journal_shared: bool,
    /// With an embedded broker, `retained_events` and `replay_retained` refill a new broker.
    pub journal: JournalOptions,
    /// How many refusals of a client are logged as separate events; the rest are only counted.
    pub refusals: EventRateLimits,
    /// The age of the oldest unshipped event at which the service reports itself as degraded.
    pub event_age_limit: Duration,
    /// The key that signs new tokens.
    pub signing_key: SigningKey,
    /// Verify-only keys: earlier signing keys until their tokens expire, and the next one.
    pub verify_keys: Vec<SigningKey>,
    /// Proxies whose `X-Forwarded-For`, request ids and traces are trusted. If the list is not
    /// empty, requests from other peers get a new request id and no trace.
    pub trusted_proxies: TrustedProxies,
    /// Origins whose scripts may call the API from a browser.
    pub cors_origins: CorsOrigins,
    /// The lifetime of a token, in whole seconds.
    pub token_lifetime: Duration,
    /// The cost of new password hashes.
    pub hash_cost: Cost,
    /// Password hashes that run at the same time. Each takes a thread and, by default, 128 MiB.
    pub hash_concurrency: usize,
    /// Requests of each purpose (log-in, registration, password change) that may wait for a hash;
    /// more get 503.
    pub hash_queue_capacity: usize,
    /// Log-ins of a client address at this process. Password changes have the same rate, counted
    /// separately.
    pub log_ins_per_address: Rate,
    /// Registrations of a client address at this process. Changes of names have the same rate,
    /// counted separately.
    pub registrations_per_address: Rate,
    /// Writes in flight of a token version at this process; more get 429. Data changes, password
    /// changes and revocations are counted separately.
    pub writes_per_user: NonZeroUsize,
    /// Data writes of a token version at this process.
    pub write_rate: Rate,
    /// Maximum size of a body, in bytes.
    pub body_limit: usize,
    /// Maximum size of the request line and the headers, in bytes.
    pub header_limit: usize,
    /// Time limit for receiving the request line and the headers, and the idle timeout of a
    /// connection.
    pub header_timeout: Duration,
    /// Time limit for the first byte of a new connection.
    pub first_byte_timeout: Duration,
    /// Bytes that all unanswered requests may hold, beyond the first 4 KiB of each. One client
    /// address may hold a quarter. Beyond the limit, requests get 503.
    pub request_memory: usize,
    /// Time limit for a blocked write, and for a client to read the last response.
    pub write_timeout: Duration,
    /// Maximum of open connections; more wait in the listen backlog. The process needs a higher
    /// limit of open files (`ulimit -n`).
    pub connections: usize,
    /// Maximum of open connections of a client address (IPv6: of a /64); more get 503 or are
    /// closed. Trusted proxies have no limit.
    pub connections_per_address: usize,
    /// Time limit from the end of the headers to the start of the response; later requests get 503.
    /// Must exceed `call_deadline`.
    pub request_timeout: Duration,
    /// The deadline of each gRPC call.
    pub call_deadline: Duration,
    /// Time limit for requests in flight after the shutdown begins.
    pub drain_timeout: Duration,
    /// The time for shipping the journal after the drain. Unshipped events stay on disk for the
    /// next start.
    pub ship_timeout: Duration,
}

impl Config {
    /// Returns the default settings.
    #[must_use]
    pub fn new(
        db_endpoint: impl Into<String>,
        logging_endpoint: impl Into<String>,
        journal_dir: impl Into<PathBuf>,
        signing_key: SigningKey,
    ) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            db_endpoint: db_endpoint.into(),
            logging_endpoint: logging_endpoint.into(),
            transport: merch_chassis::grpc::Transport::default(),
            journal_dir: journal_dir.into(),
            journal_shared: false,
            journal: JournalOptions::default(),
            refusals: EventRateLimits::default(),
            event_age_limit: merch_logging::client::DEFAULT_AGE_LIMIT,
            signing_key,
            verify_keys: Vec::new(),
            trusted_proxies: TrustedProxies::default(),
            cors_origins: CorsOrigins::default(),
            token_lifetime: Duration::from_secs(24 * 60 * 60),
            hash_cost: Cost::default(),
            hash_concurrency: cores,
            hash_queue_capacity: Self::hash_queue_capacity(cores),
            log_ins_per_address: Self::LOG_INS_PER_ADDRESS,
            registrations_per_address: Self::REGISTRATIONS_PER_ADDRESS,
            writes_per_user: Self::WRITES_PER_USER,
            write_rate: Self::WRITE_RATE,
            body_limit: 64 * 1024,
            header_limit: 16 * 1024,
            header_timeout: Duration::from_secs(30),
            first_byte_timeout: Duration::from_secs(5),
            request_memory: 32 * 1024 * 1024,
            write_timeout: Duration::from_secs(30),
            connections: Self::CONNECTIONS,
            connections_per_address: Self::CONNECTIONS / 4,
            request_timeout: Duration::from_secs(15),
            call_deadline: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(10),
            ship_timeout: Duration::from_secs(10),
        }
    }

    /// Returns the default queue capacity: eight hashes per thread, about 3 s of waiting.
    #[must_use]
    pub const fn hash_queue_capacity(hash_concurrency: usize) -> usize {
        8 * hash_concurrency
    }

    /// The default number of connections. A used connection takes about 25 KiB, or 35 KiB after a
    /// head in several parts. The system buffers at most 128 KiB of its responses.
    pub const CONNECTIONS: usize = 16_384;

    /// The default of [`Config::writes_per_user`].
    pub const WRITES_PER_USER: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

    /// An account at this rate cannot fill the database or the topic within hours.
    pub const WRITE_RATE: Rate =
        Rate::new(NonZeroU32::new(300).expect("not zero"), Duration::from_millis(200));

    /// Many users can share one address, for example a campus before a sale.
    pub const LOG_INS_PER_ADDRESS: Rate =
        Rate::new(NonZeroU32::new(300).expect("not zero"), Duration::from_millis(200));

    /// A burst of 60 and 60 a minute: enough for a campus, and at most 86,400 accounts a day for a
    /// script.
    pub const REGISTRATIONS_PER_ADDRESS: Rate =
        Rate::new(NonZeroU32::new(60).expect("not zero"), Duration::from_secs(1));
}
