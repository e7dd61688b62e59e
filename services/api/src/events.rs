//! The log events of this service. Each authentication failure is on disk, or counted, before its
//! response. If the journal is full or the disk fails, the response is 503, so that no client can
//! try passwords or tokens without a record.
//!
//! The first few refusals of a client and reason in a minute get separate events; the rest are
//! summarised (`merch_logging::client::rate_limit`).

use std::sync::Arc;

use futures_util::future::try_join_all;
use merch_logging::{
    client::{
        event::{Event, Origin, attribute, event_name},
        journal::{AppendError, Journal},
        rate_limit::{self, Client, EventRateLimiter, EventRateLimits},
    },
    proto::{Level, LogMessage},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{context::RequestContext, identity::TokenError};

/// The `reason` of a failed log-in, for its event only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogInError {
    /// No active user has this name.
    UnknownUser,
    WrongPassword,
    /// The password was changed, or the user deactivated, before the log-in was recorded.
    ChangedMeanwhile,
}

impl LogInError {
    const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::WrongPassword => "wrong_password",
            Self::ChangedMeanwhile => "changed_meanwhile",
        }
    }
}

#[derive(Clone)]
pub(crate) struct Events {
    origin: Origin,
    journal: Journal,
    rate_limiter: Arc<EventRateLimiter>,
}

impl Events {
    pub(crate) fn new(journal: Journal, limits: EventRateLimits) -> Self {
        Self {
            origin: Origin::new("api"),
            journal,
            rate_limiter: Arc::new(EventRateLimiter::new(limits)),
        }
    }

    /// Writes the counted refusals periodically, and when `stop` is cancelled.
    pub(crate) async fn write_summaries(&self, stop: CancellationToken) {
        let write = |events: Vec<LogMessage>| async {
            // Concurrently, so that they share an fsync.
            try_join_all(events.into_iter().map(|event| self.journal.append(event))).await.map(drop)
        };
        rate_limit::write_summaries(&self.rate_limiter, &self.origin, write, stop).await;
    }

    /// Omits the username: clients may send a password in the wrong field.
    pub(crate) async fn log_in_failed(
        &self,
        reason: LogInError,
        user: Option<Uuid>,
    ) -> Result<(), AppendError> {
        let event = self
            .origin
            .event(Level::Warn, event_name::LOG_IN_FAILED, "A log-in was refused")
            .attribute(attribute::REASON, reason.as_str());
        let event = match user {
            Some(user) => event.on_user(user),
            None => event,
        };
        self.write(event_name::LOG_IN_FAILED, reason.as_str(), user, event).await
    }

    pub(crate) async fn password_refused(&self, user: Uuid) -> Result<(), AppendError> {
        let event = self.origin.event(
            Level::Warn,
            event_name::PASSWORD_REFUSED,
            "A new password was refused, as the current one was wrong",
        );
        self.write(
            event_name::PASSWORD_REFUSED,
            "wrong_password",
            Some(user),
            event.by_user(user).on_user(user),
        )
        .await
    }

    /// `user` is known only if the token was valid before.
    pub(crate) async fn token_refused(
        &self,
        reason: TokenError,
        user: Option<Uuid>,
    ) -> Result<(), AppendError> {
        let event = self.origin.event(
            Level::Warn,
            event_name::TOKEN_REFUSED,
            "A request without a valid token was refused",
        );
        let event = event.attribute(attribute::REASON, reason.as_str());
        let event = match user {
            Some(user) => event.on_user(user),
            None => event,
        };
        self.write(event_name::TOKEN_REFUSED, reason.as_str(), None, event).await
    }

    /// `account` is set if the refusal cost a password hash.
    async fn write(
        &self,
        kind: &'static str,
        reason: &'static str,
        account: Option<Uuid>,
        event: Event,
    ) -> Result<(), AppendError> {
        let context = RequestContext::current();
        let client = Client::at(context.client_address());
        let is_event = match account {
            Some(account) => self.rate_limiter.admit_on_account(client, account, kind, reason),
            None => self.rate_limiter.admit(client, kind, reason),
        };
        if !is_event {
            return Ok(());
        }
        let event =
            event.request_id(context.request_id()).trace_id(context.trace_id().unwrap_or_default());
        let event = match context.client_address() {
            Some(address) => event.attribute(attribute::CLIENT_ADDRESS, address),
            None => event,
        };
        self.journal.append(event.build()).await.inspect_err(|_| {
            // Without this, later refusals would be counted although no event is on disk.
            self.rate_limiter.release(client, account, kind, reason);
        })
    }
}
