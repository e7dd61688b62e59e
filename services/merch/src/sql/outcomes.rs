use std::fmt;

/// Counts the outcomes of statements. `Display` formats the end of an error message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StatementOutcomes {
    committed: u64,
    /// Statements in the open transaction.
    open: u64,
    rolled_back: u64,
}

impl StatementOutcomes {
    pub(super) fn add(&mut self) {
        self.open += 1;
    }

    pub(super) fn commit(&mut self) {
        self.committed += std::mem::take(&mut self.open);
    }

    pub(super) fn roll_back(&mut self) {
        self.rolled_back += std::mem::take(&mut self.open);
    }
}

impl fmt::Display for StatementOutcomes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statements = |number| {
            if number == 1 { "1 statement".to_owned() } else { format!("{number} statements") }
        };
        let was = |number| if number == 1 { "was" } else { "were" };
        match (self.committed, self.rolled_back) {
            (0, 0) => Ok(()),
            (committed, 0) => {
                write!(
                    formatter,
                    "; {} before it {} carried out",
                    statements(committed),
                    was(committed)
                )
            }
            (0, back) => {
                write!(formatter, "; {} before it {} rolled back", statements(back), was(back))
            }
            (committed, back) => {
                write!(
                    formatter,
                    "; {} before it {} carried out, {back} {} rolled back",
                    statements(committed),
                    was(committed),
                    was(back)
                )
            }
        }
    }
}
