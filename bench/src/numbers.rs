//! Arithmetic of results: spreads, ratios, and how they are printed.

use serde::{Deserialize, Serialize};

/// The median and the extremes of repeated values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Returns `None` without values. The median of an even number is the mean of the middle two.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, min, max })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [median, min, max] = [self.median, self.min, self.max].map(significant);
        write!(formatter, "{median} ({min}–{max})")
    }
}

/// Divides values of the same repeat. A repeat without both values, or with a zero below, is left
/// out.
pub(crate) fn ratios(above: &[(usize, f64)], below: &[(usize, f64)]) -> Vec<f64> {
    let of = |repeat| below.iter().find(|(other, _)| *other == repeat).map(|(_, value)| *value);
    let pairs = above.iter().filter_map(|(repeat, above)| Some((above, of(*repeat)?)));
    pairs.filter(|(_, below)| *below != 0.0).map(|(above, below)| above / below).collect()
}

/// Prints at least three significant digits, and separates thousands.
pub(crate) fn significant(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => return "0".to_owned(),
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if fraction.is_empty() {
        format!("{sign}{grouped}")
    } else {
        format!("{sign}{grouped}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_has_median_and_extremes() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(
            Spread::of(&[4.0, 1.0, 2.0, 3.0]),
            Some(Spread { median: 2.5, min: 1.0, max: 4.0 })
        );
    }

    #[test]
    fn ratios_pair_values_of_one_repeat() {
        let above = [(0, 10.0), (1, 30.0), (2, 5.0), (3, 1.0)];
        let below = [(1, 10.0), (0, 5.0), (3, 0.0)];
        assert_eq!(ratios(&above, &below), [2.0, 3.0]);
    }

    #[test]
    fn numbers_have_three_significant_digits() {
        let texts = [0.0, 0.1234, 1.005, 12.345, 123.4, 1234.5, 1_234_567.0, -1234.0];
        let texts = texts.map(significant);
        assert_eq!(texts, ["0", "0.123", "1.00", "12.3", "123", "1,234", "1,234,567", "-1,234"]);
    }
}
