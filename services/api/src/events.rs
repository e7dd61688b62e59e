//! The log events of this service: every authentication failure is on disk, or counted, before it
//! is answered.
//!
//! Each event is an fsynced append (appends that wait together share one fsync). The first few
//! refusals of a client and reason in a minute are events of their own; the rest are counted, and
//! one event tells the count (`merch_logging::client::rate_limit`). What the journal takes of the disk
//! is bounded as well (`JournalOptions::max_backlog_bytes`). If it cannot take an event, because it
//! is full or the disk fails, the request is answered 503 and the next refusal tries again, so that
//! no client can try passwords or tokens unseen. A refusal is only counted after the first few were
//! written, or while their writes are in progress.

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

use crate::{
    context::RequestContext,
    identity::Refusal,
    problem::{Code, Problem},
};

/// Why a log-in failed; the `reason` of its event. The client is never told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogInFailure {
    /// No active user has this name.
    UnknownUser,
    /// The user is there, the password is another.
    WrongPassword,
    /// The password was right, and was changed or the user deactivated before the log-in could be
    /// recorded.
    ChangedMeanwhile,
}

impl LogInFailure {
    const fn word(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::WrongPassword => "wrong_password",
            Self::ChangedMeanwhile => "changed_meanwhile",
        }
    }
}

/// Writes events to the journal. Cheap to clone.
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

    /// Writes what is counted of refusals, at the end of each period and once more when `stop` is
    /// cancelled.
    pub(crate) async fn summarise(&self, stop: CancellationToken) {
        let write = |events: Vec<LogMessage>| async {
            // Side by side, so that they share an fsync.
            try_join_all(events.into_iter().map(|event| self.journal.append(event))).await.map(drop)
        };
        rate_limit::write_summaries(&self.rate_limiter, &self.origin, write, stop).await;
    }

    /// A log-in failed. `user` is the one whose password was asked for, if there is one; the name
    /// that was sent is never written, as it may well be a password in the wrong field.
    ///
    /// # Errors
    /// 503 when the event cannot be written.
    pub(crate) async fn log_in_failed(
        &self,
        reason: LogInFailure,
        user: Option<Uuid>,
    ) -> Result<(), Problem> {
        let event = self
            .origin
            .event(Level::Warn, event_name::LOG_IN_FAILED, "A log-in was refused")
            .attribute(attribute::REASON, reason.word());
        let event = match user {
            Some(user) => event.on_user(user),
            None => event,
        };
        self.write(event_name::LOG_IN_FAILED, reason.word(), user, event).await
    }

    /// A user who is logged in sent a wrong current password.
    ///
    /// # Errors
    /// 503 when the event cannot be written.
    pub(crate) async fn password_refused(&self, user: Uuid) -> Result<(), Problem> {
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

    /// A token was refused. `user` is known only if the token was once a good one.
    ///
    /// # Errors
    /// 503 when the event cannot be written.
    pub(crate) async fn token_refused(
        &self,
        reason: Refusal,
        user: Option<Uuid>,
    ) -> Result<(), Problem> {
        let event = self.origin.event(
            Level::Warn,
            event_name::TOKEN_REFUSED,
            "A request without a valid token was refused",
        );
        let event = event.attribute(attribute::REASON, reason.word());
        let event = match user {
            Some(user) => event.on_user(user),
            None => event,
        };
        self.write(event_name::TOKEN_REFUSED, reason.word(), None, event).await
    }

    /// Writes the event of a refusal, or counts it; by `account` where the refusal cost a password
    /// hash.
    async fn write(
        &self,
        kind: &'static str,
        reason: &'static str,
        account: Option<Uuid>,
        event: Event,
    ) -> Result<(), Problem> {
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
        self.journal.append(event.build()).await.map_err(|error| {
            // Otherwise, after the first few failures, refusals would be counted and answered
            // without an event on disk.
            self.rate_limiter.release(client, account, kind, reason);
            match error {
                // The journal has told the log, once: here it would be a line for each request of a
                // flood.
                AppendError::Full { .. } => Code::Unavailable.into(),
                AppendError::TooLarge { .. } | AppendError::Disk(_) | AppendError::Closed => {
                    Problem::unavailable(error, None)
                }
            }
        })
    }
}
