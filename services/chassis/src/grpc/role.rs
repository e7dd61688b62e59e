//! The roles of processes.

use std::fmt;

/// The role of a process. Its certificate names it as a DNS name, [`Role::host`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The REST gateway.
    Api,
    /// The db service.
    Db,
    /// The logging service.
    Logging,
    /// The operator's commands.
    Operator,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Api, Self::Db, Self::Logging, Self::Operator];

    /// Returns the role's name: `api`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Db => "db",
            Self::Logging => "logging",
            Self::Operator => "operator",
        }
    }

    /// Returns the DNS name in the role's certificate: `api.merch.internal`.
    #[must_use]
    pub fn host(self) -> String {
        host(self.name())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

pub(super) fn host(name: &str) -> String {
    format!("{name}.merch.internal")
}
