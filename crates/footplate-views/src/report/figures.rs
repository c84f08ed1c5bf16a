//! Figures as they are read: three significant digits and a unit. What is not there is "-".

use crate::text;

/// A number with at least three significant digits; thousands and more keep all their whole digits.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "not a number".to_owned() } else { "infinite".to_owned() };
    }
    let size = value.abs();
    let decimals = match size {
        0.0 => 0,
        s if s >= 99.95 => 0,
        s if s >= 9.995 => 1,
        s if s >= 0.9995 => 2,
        s if s >= 0.09995 => 3,
        s if s >= 0.009_995 => 4,
        _ => return format!("{value:.2e}"),
    };
    format!("{value:.decimals$}")
}

/// A figure that may be missing, with its unit.
pub(crate) fn with_unit(value: Option<f64>, unit: &str) -> String {
    text::known(value, |value| format!("{} {unit}", number(value)))
}

/// A share as a percentage.
pub(crate) fn percent(share: Option<f64>) -> String {
    text::known(share, text::percent)
}

/// A difference to a first value, as a signed percentage.
pub(crate) fn difference(first: Option<f64>, value: Option<f64>) -> String {
    match first.zip(value) {
        Some((first, value)) if first != 0.0 => format!("{:+.1} %", (value / first - 1.0) * 100.0),
        _ => "-".to_owned(),
    }
}

/// A duration from nanoseconds to days.
pub(crate) fn seconds(value: f64) -> String {
    if !value.is_finite() {
        return number(value);
    }
    let (size, sign) = (value.abs(), if value < 0.0 { "-" } else { "" });
    if size == 0.0 {
        return "0 s".to_owned();
    }
    if size < 1e-3 {
        return format!("{} µs", number(value * 1e6));
    }
    if size < 1.0 {
        return format!("{} ms", number(value * 1e3));
    }
    if size < 59.95 {
        return format!("{} s", number(value));
    }
    let whole = size.round() as u64;
    if whole < 3600 {
        return format!("{sign}{} min {:02} s", whole / 60, whole % 60);
    }
    // Beside hours, seconds say nothing.
    let minutes = whole.saturating_add(30) / 60;
    format!("{sign}{} h {:02} min", minutes / 60, minutes % 60)
}

/// An energy from microjoules to megajoules.
pub(crate) fn joules(value: f64) -> String {
    let (scale, unit) = match value.abs() {
        v if v >= 1e6 => (1e-6, "MJ"),
        v if v >= 1e4 => (1e-3, "kJ"),
        v if v >= 1.0 || v == 0.0 => (1.0, "J"),
        v if v >= 1e-3 => (1e3, "mJ"),
        _ => (1e6, "µJ"),
    };
    format!("{} {unit}", number(value * scale))
}

/// A count with its thousands apart.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digits.len() > 4 {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let shown = [0.0, 0.001_234, 0.01234, 0.1234, 1.234, 12.34, 123.4, 12_345.6, -0.5].map(number);
        assert_eq!(shown, ["0", "1.23e-3", "0.0123", "0.123", "1.23", "12.3", "123", "12346", "-0.500"]);
        let shown = [0.0, 2e-6, 0.0842, 1.5, 59.97, 3725.0].map(seconds);
        assert_eq!(shown, ["0 s", "2.00 µs", "84.2 ms", "1.50 s", "1 min 00 s", "1 h 02 min"]);
        assert_eq!(
            [0.0, 0.002, 12.0, 54_321.0, 2.5e6].map(joules),
            ["0 J", "2.00 mJ", "12.0 J", "54.3 kJ", "2.50 MJ"]
        );
        assert_eq!(
            [7, 1234, 12_345, 1_234_567].map(count),
            ["7", "1234", "12\u{202f}345", "1\u{202f}234\u{202f}567"]
        );
    }

    #[test]
    fn a_missing_figure_is_a_dash_and_zero_is_not() {
        assert_eq!((percent(None), percent(Some(0.0))), ("-".to_owned(), "0.0 %".to_owned()));
        assert_eq!((with_unit(None, "W"), with_unit(Some(0.0), "W")), ("-".to_owned(), "0 W".to_owned()));
    }

    #[test]
    fn a_difference_needs_two_figures_and_something_to_differ_from() {
        assert_eq!(difference(Some(2.0), Some(3.0)), "+50.0 %");
        assert_eq!(difference(Some(2.0), Some(0.0)), "-100.0 %");
        for (first, value) in [(None, Some(1.0)), (Some(1.0), None), (Some(0.0), Some(1.0))] {
            assert_eq!(difference(first, value), "-");
        }
    }

    #[test]
    fn what_is_not_a_finite_number_has_words() {
        let shown = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(|v| [number(v), seconds(v)]);
        let word = |text: &str| [text.to_owned(), text.to_owned()];
        assert_eq!(shown, [word("not a number"), word("infinite"), word("infinite")]);
    }

    /// What a figure with its unit means in the base unit.
    fn read_back(text: &str, units: &[(&str, f64)]) -> f64 {
        let (number, unit) = text.split_once(' ').unwrap();
        number.parse::<f64>().unwrap() * units.iter().find(|(name, _)| *name == unit).unwrap().1
    }

    proptest! {
        #[test]
        fn a_number_keeps_three_digits_at_any_size(mantissa in 1.0f64..10.0, power in -12i32..12, negative: bool) {
            let value = mantissa * 10f64.powi(power) * if negative { -1.0 } else { 1.0 };
            let shown: f64 = number(value).parse().unwrap();
            prop_assert!((shown / value - 1.0).abs() <= 0.0051, "{value} as {}", number(value));
        }

        #[test]
        fn a_duration_and_an_energy_mean_the_same_in_their_unit(mantissa in 1.0f64..10.0, power in -8i32..9) {
            let value = mantissa * 10f64.powi(power);
            let shown = read_back(&joules(value), &[("µJ", 1e-6), ("mJ", 1e-3), ("J", 1.0), ("kJ", 1e3), ("MJ", 1e6)]);
            prop_assert!((shown / value - 1.0).abs() <= 0.0051, "{value} J as {}", joules(value));
            if value < 59.0 {
                let shown = read_back(&seconds(value), &[("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)]);
                prop_assert!((shown / value - 1.0).abs() <= 0.0051, "{value} s as {}", seconds(value));
            }
        }

        #[test]
        fn a_count_keeps_its_digits(value: u64) {
            prop_assert_eq!(count(value).replace('\u{202f}', "").parse::<u64>().unwrap(), value);
        }
    }
}
