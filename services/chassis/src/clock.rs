//! How far the clock of a role may differ from the database's, by which everything is decided that
//! times decide.

use crate::Part;

/// Seconds by which the clock of a role may differ from the database's.
pub const MAX_SKEW_SECONDS: f64 = 5.0;

/// Keeps a part's readiness by the skew of this machine's clock, and logs each change once.
#[derive(Debug, Default)]
pub struct SkewLog {
    is_wrong: bool,
}

impl SkewLog {
    /// Makes `part` not ready if this machine's clock, `skew` seconds ahead of the database's,
    /// differs too much from it, and ready if not. `uncertainty` is how far the measurement may be
    /// wrong, in seconds: half the time that it took.
    pub fn compare(&mut self, skew: f64, uncertainty: f64, part: &Part) {
        let fault = skew_fault(skew, uncertainty);
        match (&fault, self.is_wrong) {
            (Some(fault), false) => tracing::error!(skew_seconds = skew, "not ready: {fault}"),
            (None, true) => tracing::info!(
                skew_seconds = skew,
                "the clock of this machine agrees with the database's again"
            ),
            (Some(_), true) | (None, false) => {}
        }
        self.is_wrong = fault.is_some();
        match fault {
            Some(fault) => part.not_ready(fault),
            None => part.ready(),
        }
    }
}

/// Says why a role whose clock is `skew` seconds ahead of the database's is not ready, if it is
/// not.
fn skew_fault(skew: f64, uncertainty: f64) -> Option<String> {
    let is_too_far = skew.abs() - uncertainty > MAX_SKEW_SECONDS;
    let direction = if skew > 0.0 { "ahead of" } else { "behind" };
    is_too_far.then(|| {
        format!(
            "the clock of this machine is {:.1} s {direction} the database's; expected at most {MAX_SKEW_SECONDS} s: synchronise it (NTP)",
            skew.abs()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_wrong_only_as_far_as_the_measurement_is_certain() {
        for (skew, uncertainty) in [(0.0, 0.0), (5.0, 0.0), (-5.0, 0.0), (6.0, 1.0), (-60.0, 55.0)]
        {
            assert_eq!(skew_fault(skew, uncertainty), None, "{skew} {uncertainty}");
        }
        let ahead = skew_fault(172_800.0, 0.01).unwrap();
        assert!(ahead.starts_with("the clock of this machine is 172800.0 s ahead of the database's; expected at most 5 s"), "{ahead}");
        assert!(skew_fault(-5.2, 0.1).unwrap().contains("5.2 s behind the database's"));
    }
}
