//! The log events of this service: every authentication failure, on disk before it is answered.
//!
//! Each event is an fsynced append (appends that wait together share one fsync). That a flood of bad tokens costs disk writes is meant: an operator
//! wants to see the flood. Nothing holds its rate back but the disk; what it can take of the disk is bounded
//! (`JournalOptions::max_backlog_bytes`), also while nothing is shipped. When the journal cannot take an event, as it is full or the disk fails, the
//! request is answered 503, so that nobody can try passwords or tokens unseen.

use merch_logging::{
    client::{
        event::{Event, Origin, attribute, word},
        journal::{AppendError, Journal},
    },
    proto::Level,
};
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
    /// The password was right, and was changed or the user deactivated before the log-in could be recorded.
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
}

impl Events {
    pub(crate) fn new(journal: Journal) -> Self {
        Self { origin: Origin::new("api"), journal }
    }

    /// A log-in failed. `user` is the one whose password was asked for, if there is one; the name that was sent is never written, as it may well be
    /// a password in the wrong field.
    ///
    /// # Errors
    /// 503 when the event cannot be written.
    pub(crate) async fn log_in_failed(&self, reason: LogInFailure, user: Option<Uuid>) -> Result<(), Problem> {
        let event = self.origin.event(Level::Warn, word::LOG_IN_FAILED, "A log-in was refused").attribute(attribute::REASON, reason.word());
        self.write(match user {
            Some(user) => event.on_user(user),
            None => event,
        })
        .await
    }

    /// A user who is logged in sent a wrong current password.
    ///
    /// # Errors
    /// 503 when the event cannot be written.
    pub(crate) async fn password_refused(&self, user: Uuid) -> Result<(), Problem> {
        let event = self.origin.event(Level::Warn, word::PASSWORD_REFUSED, "A new password was refused, as the current one was wrong");
        self.write(event.by_user(user).on_user(user)).await
    }

    /// A token was refused. `user` is known only if the token was once a good one.
    ///
    /// # Errors
    /// 503 when the event cannot be written.
    pub(crate) async fn token_refused(&self, reason: Refusal, user: Option<Uuid>) -> Result<(), Problem> {
        let event = self.origin.event(Level::Warn, word::TOKEN_REFUSED, "A request without a valid token was refused");
        let event = event.attribute(attribute::REASON, reason.word());
        self.write(match user {
            Some(user) => event.on_user(user),
            None => event,
        })
        .await
    }

    async fn write(&self, event: Event) -> Result<(), Problem> {
        let context = RequestContext::current();
        let event = event.request_id(context.request_id()).trace_id(context.trace_id().unwrap_or_default());
        let event = match context.client_address() {
            Some(address) => event.attribute(attribute::CLIENT_ADDRESS, address),
            None => event,
        };
        self.journal.append(event.build()).await.map_err(|error| match error {
            // The journal has told the log, once: here it would be a line for each request of a flood.
            AppendError::Full { .. } => Code::Unavailable.into(),
            AppendError::TooLarge { .. } | AppendError::Disk(_) | AppendError::Closed => Problem::unavailable(error, None),
        })
    }
}
