//! How far the clock of a role may differ from the database's, by which everything is decided that times decide.

/// Seconds by which the clock of a role may differ from the database's.
pub const MAX_SKEW_SECONDS: f64 = 5.0;

/// Says why a role whose clock is `skew` seconds ahead of the database's is not ready, if it is not. `uncertainty` is how far the measurement may be
/// wrong, in seconds: half the time that it took.
#[must_use]
pub fn skew_fault(skew: f64, uncertainty: f64) -> Option<String> {
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
        for (skew, uncertainty) in [(0.0, 0.0), (5.0, 0.0), (-5.0, 0.0), (6.0, 1.0), (-60.0, 55.0)] {
            assert_eq!(skew_fault(skew, uncertainty), None, "{skew} {uncertainty}");
        }
        let ahead = skew_fault(172_800.0, 0.01).unwrap();
        assert!(ahead.starts_with("the clock of this machine is 172800.0 s ahead of the database's; expected at most 5 s"), "{ahead}");
        assert!(skew_fault(-5.2, 0.1).unwrap().contains("5.2 s behind the database's"));
    }
}
