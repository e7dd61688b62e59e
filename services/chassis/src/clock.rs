//! Clock skew between a role and the database.

use crate::Part;

/// Maximum clock skew, in seconds.
pub const MAX_SKEW_SECONDS: f64 = 5.0;

/// Sets a part's readiness from the clock skew.
#[derive(Debug, Default)]
pub struct SkewMonitor {
    is_over_limit: bool,
}

impl SkewMonitor {
    /// Makes `part` not ready if the clock is more than [`MAX_SKEW_SECONDS`] + `uncertainty` ahead
    /// or behind. `uncertainty` is half of the measurement's round trip; both arguments are in
    /// seconds.
    pub fn compare(&mut self, skew: f64, uncertainty: f64, part: &Part) {
        let error = skew_error(skew, uncertainty);
        match (&error, self.is_over_limit) {
            (Some(error), false) => {
                tracing::error!(skew_seconds = skew, error, "clock skew over the limit; not ready")
            }
            (None, true) => {
                tracing::info!(skew_seconds = skew, "clock skew within the limit again")
            }
            (Some(_), true) | (None, false) => {}
        }
        self.is_over_limit = error.is_some();
        match error {
            Some(error) => part.not_ready(error),
            None => part.ready(),
        }
    }
}

fn skew_error(skew: f64, uncertainty: f64) -> Option<String> {
    let is_too_far = skew.abs() - uncertainty > MAX_SKEW_SECONDS;
    let direction = if skew > 0.0 { "ahead of" } else { "behind" };
    is_too_far.then(|| {
        format!(
            "the clock of this machine is {:.1} s {direction} the database's; expected at most \
             {MAX_SKEW_SECONDS} s: synchronise it (NTP)",
            skew.abs()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_is_rejected_only_beyond_its_uncertainty() {
        for (skew, uncertainty) in [(0.0, 0.0), (5.0, 0.0), (-5.0, 0.0), (6.0, 1.0), (-60.0, 55.0)]
        {
            assert_eq!(skew_error(skew, uncertainty), None, "{skew} {uncertainty}");
        }
        let ahead = skew_error(172_800.0, 0.01).unwrap();
        let expected = "the clock of this machine is 172800.0 s ahead of the database's; \
                        expected at most 5 s";
        assert!(ahead.starts_with(expected), "{ahead}");
        assert!(skew_error(-5.2, 0.1).unwrap().contains("5.2 s behind the database's"));
    }
}
