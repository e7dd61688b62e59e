//! Everything that can be set. Nothing here reads the environment: that is for the program around
//! this library.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    thread::available_parallelism,
    time::Duration,
};

use merch_logging::client::{journal::JournalOptions, rate_limit::EventRateLimits};

use crate::{
    edge::CorsOrigins,
    identity::{Cost, Rate, SigningKey},
    proxies::TrustedProxies,
};

/// The settings of the api service.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the db service's gRPC is, as a URI: `https://db:50051`, `unix:/path`.
    pub db_endpoint: String,
    /// Where the logging service's gRPC is, as a URI: `https://logging:50052`, `unix:/path`.
    pub logging_endpoint: String,
    /// How this process proves who it is, and what it may use to reach the others.
    pub transport: merch_chassis::grpc::Transport,
    /// The folder of the journal in which log events wait, made if it is not there. Each process
    /// has its own.
    pub journal_folder: PathBuf,
    /// Whether other replicas keep theirs in the same place: each takes the first that nobody has
    /// of `journal_folder`, `journal_folder-2`, `…-3` and so on, and ships what a replica that is
    /// gone has left in another. The file system has to know locks.
    pub journal_shared: bool,
    /// How the journal is kept: where the broker lives in the process, `retained_events` and
    /// `replay_retained` fill a fresh one again.
    pub journal: JournalOptions,
    /// How many refusals of one client become log events of their own; the rest are counted.
    pub refusals: EventRateLimits,
    /// How long the oldest log event may wait to be shipped before the service calls itself
    /// degraded (`/readyz`); it serves on.
    pub event_age_limit: Duration,
    /// Signs new tokens.
    pub signing_key: SigningKey,
    /// Keys that verify and never sign: those that signed before, as their tokens are taken until
    /// they expire, and the one that other replicas may sign with already.
    pub verify_keys: Vec<SigningKey>,
    /// Proxies in front, from which alone the client's address is taken. Where there are any,
    /// requests that come from elsewhere get an id of ours and no trace.
    pub trusted_proxies: TrustedProxies,
    /// Other origins whose scripts may use the API from a browser.
    pub cors_origins: CorsOrigins,
    /// For how long a token is valid; whole seconds.
    pub token_lifetime: Duration,
    /// What a password hash costs.
    pub hash_cost: Cost,
    /// Password hashes that are computed at the same time, each on a thread of its own with, by
    /// default, 128 MiB.
    pub hashes_at_once: usize,
    /// Requests of each purpose (log-in, registration, change of password) that may wait for a
    /// hash; further ones are answered 503. Registrations and changes each take at most half of the
    /// threads.
    pub hashes_waiting: usize,
    /// How often one address may try to log in at this process, for whatever account. Networks
    /// behind one address share this. Changes of passwords have the same rate, with a count of
    /// their own. How often an account may be tried is the db service's setting.
    pub log_ins_per_address: Rate,
    /// How often one address may register at this process, whatever comes of it. Changes of
    /// usernames and emails have the same rate, with a count of their own.
    pub registrations_per_address: Rate,
    /// How many requests that change something one token version of a user may have in progress at
    /// this process; more are answered 429. Changes of data, changes of the password, and
    /// revocations of tokens (log-outs, deactivations) have a count each.
    pub writes_per_user: NonZeroUsize,
    /// How many orders, cancellations and changes of the own data one user may send at this
    /// process, with each token version.
    pub write_rate: Rate,
    /// Bytes of a request's body, at most.
    pub body_limit: usize,
    /// Bytes of a request's line and headers together, at most.
    pub header_limit: usize,
    /// How long a request's line and headers may take to arrive, and how long a connection may be
    /// idle between requests.
    pub header_timeout: Duration,
    /// How long the first byte of a new connection may take.
    pub first_byte_timeout: Duration,
    /// Bytes that all requests together may hold until they are answered, beyond the first 4 KiB of
    /// each. Those of one client address may hold a quarter of that, or what one request may. A
    /// request past either is answered 503.
    pub request_memory: usize,
    /// For how long a client may take nothing of an answer that is being sent, and how long it may
    /// take for the end of the last one and for closing its connection; then it is reset.
    pub write_timeout: Duration,
    /// Connections that are open at the same time, idle ones included; at least one. While there
    /// are so many none is accepted: whoever connects waits in the system's queue until one is
    /// closed, or `header_timeout` or `write_timeout` has closed one. The system has to let the
    /// process open more files than this (`ulimit -n`).
    pub connections: usize,
    /// Connections that one client address may have open, idle ones included; at least one. For
    /// IPv6 a /64 counts as one address. Trusted proxies have no limit of their own. A connection
    /// past it is answered 503, or closed.
    pub connections_per_address: usize,
    /// How long a request may take from the end of its headers to the beginning of its answer; then
    /// it is answered 503. Longer than `call_deadline`.
    pub request_timeout: Duration,
    /// The deadline of each gRPC call.
    pub call_deadline: Duration,
    /// How long requests under way have to end once the shutdown has begun.
    pub drain_timeout: Duration,
    /// How long shipping what is in the journal may take after that, and after a wait for log-ins
    /// and password changes whose clients are gone: at most `call_deadline` or `drain_timeout`,
    /// whichever is less. What is left stays on disk for the next start.
    pub ship_timeout: Duration,
}

impl Config {
    /// The defaults, around what has none.
    #[must_use]
    pub fn new(
        db_endpoint: impl Into<String>,
        logging_endpoint: impl Into<String>,
        journal_folder: impl Into<PathBuf>,
        signing_key: SigningKey,
    ) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            db_endpoint: db_endpoint.into(),
            logging_endpoint: logging_endpoint.into(),
            transport: merch_chassis::grpc::Transport::default(),
            journal_folder: journal_folder.into(),
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
            hashes_at_once: cores,
            hashes_waiting: Self::hashes_waiting(cores),
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

    /// How many may wait where so many are hashed at once: eight turns, some three seconds where
    /// only log-ins are hashed and a hash takes a third of one. Even on a machine five times as
    /// slow the last one is served within the request's timeout then: a rush of log-ins waits a
    /// little, a flood is turned away.
    #[must_use]
    pub const fn hashes_waiting(hashes_at_once: usize) -> usize {
        8 * hashes_at_once
    }

    /// Connections that are open at the same time. One that was used takes about 25 KiB, 35 KiB if
    /// a head came in parts; the system keeps at most 128 KiB of answers for it.
    pub const CONNECTIONS: usize = 16_384;

    /// More than a person has under way, and too few to hold up others.
    pub const WRITES_PER_USER: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

    /// More than a person does, and little enough that one account cannot fill the database or the
    /// topic within hours.
    pub const WRITE_RATE: Rate =
        Rate::new(NonZeroU32::new(300).expect("not zero"), Duration::from_millis(200));

    /// A campus may be behind one address, and all of it logs in before a sale.
    pub const LOG_INS_PER_ADDRESS: Rate =
        Rate::new(NonZeroU32::new(300).expect("not zero"), Duration::from_millis(200));

    /// 60 at once and 60 a minute: a campus behind one address registers for a sale, and a script
    /// makes 86,400 accounts a day at the most.
    pub const REGISTRATIONS_PER_ADDRESS: Rate =
        Rate::new(NonZeroU32::new(60).expect("not zero"), Duration::from_secs(1));
}
