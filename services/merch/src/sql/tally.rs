//! What became of the statements before one that failed.

use std::fmt;

/// Counts statements by their outcome. Displays as the end of an error's sentence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Committed.
    done: u64,
    /// In the transaction that is open, or just carried out.
    open: u64,
    rolled_back: u64,
}

impl Tally {
    /// Counts a statement that succeeded.
    pub(super) fn add(&mut self) {
        self.open += 1;
    }

    /// What is open is committed.
    pub(super) fn commit(&mut self) {
        self.done += std::mem::take(&mut self.open);
    }

    /// What is open is rolled back.
    pub(super) fn roll_back(&mut self) {
        self.rolled_back += std::mem::take(&mut self.open);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statements = |number| {
            if number == 1 { "1 statement".to_owned() } else { format!("{number} statements") }
        };
        let was = |number| if number == 1 { "was" } else { "were" };
        match (self.done, self.rolled_back) {
            (0, 0) => Ok(()),
            (done, 0) => {
                write!(formatter, "; {} before it {} carried out", statements(done), was(done))
            }
            (0, back) => {
                write!(formatter, "; {} before it {} rolled back", statements(back), was(back))
            }
            (done, back) => {
                write!(
                    formatter,
                    "; {} before it {} carried out, {back} {} rolled back",
                    statements(done),
                    was(done),
                    was(back)
                )
            }
        }
    }
}
