//! How values are written: short, with their unit, and so that absent, unreadable and zero look different.

use core::time::Duration;

use footplate_core::Reading;

/// A reading in few characters: "-" where there is no such source, "x" where it cannot be read.
pub fn shown<T>(reading: &Reading<T>, show: impl FnOnce(&T) -> String) -> String {
    match reading {
        Reading::Value(value) => show(value),
        Reading::Absent => "-".to_owned(),
        Reading::Unreadable { .. } => "x".to_owned(),
    }
}

/// The same with the reason why it cannot be read.
pub fn explained<T>(reading: &Reading<T>, show: impl FnOnce(&T) -> String) -> String {
    match reading {
        Reading::Unreadable { reason } => format!("x ({reason})"),
        other => shown(other, show),
    }
}

/// A value that is perhaps not known.
pub fn known<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Hours, minutes and seconds, as a clock shows them.
pub fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// A number with three or four digits that count.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if !(1e-3..1e6).contains(&size) {
        format!("{value:.1e}")
    } else if size < 0.1 {
        format!("{value:.4}")
    } else if size < 10.0 {
        format!("{value:.3}")
    } else if size < 100.0 {
        format!("{value:.2}")
    } else if size < 1000.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// Seconds in the unit that suits them.
pub fn seconds(value: f64) -> String {
    match value.abs() {
        size if size < 1e-3 => format!("{} us", short(value * 1e6)),
        size if size < 1.0 => format!("{} ms", short(value * 1e3)),
        _ => format!("{} s", short(value)),
    }
}

/// Joules in the unit that suits them.
pub fn joules(value: f64) -> String {
    match value.abs() {
        size if size < 1e3 => format!("{} J", short(value)),
        size if size < 1e6 => format!("{} kJ", short(value / 1e3)),
        _ => format!("{} MJ", short(value / 1e6)),
    }
}

/// A bar of `width` cells, of which `share` (0 to 1) is full.
pub fn bar(width: usize, share: f64) -> String {
    let full = (share.clamp(0.0, 1.0) * width as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(width - full))
}

/// Cells of a bar of `width` for each share, by the largest remainders: they add up to the width if the shares
/// add up to 1, and never to more.
pub fn cells<const N: usize>(width: usize, shares: [f64; N]) -> [usize; N] {
    let shares = shares.map(|share| share.clamp(0.0, 1.0));
    // The parts of a damaged record may be more than the whole.
    let whole = shares.iter().sum::<f64>().max(1.0);
    let exact = shares.map(|share| share / whole * width as f64);
    let mut cells = exact.map(|cells| cells.floor() as usize);
    let wanted = (exact.iter().sum::<f64>().round() as usize).min(width);
    let mut order: Vec<usize> = (0..N).collect();
    order.sort_by(|a, b| exact[*b].fract().total_cmp(&exact[*a].fract()));
    for index in order {
        if cells.iter().sum::<usize>() < wanted {
            cells[index] += 1;
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_short_and_keep_their_digits() {
        let shown = [0.0, 0.000_12, 0.0123, 2.345_67, 45.678, 456.78, 12_345.6, 3e7, -0.5].map(short);
        assert_eq!(shown, ["0", "1.2e-4", "0.0123", "2.346", "45.68", "456.8", "12346", "3.0e7", "-0.500"]);
        assert_eq!([0.000_045, 0.012, 3.2].map(seconds), ["45.00 us", "12.00 ms", "3.200 s"]);
        assert_eq!([5.0, 1234.0, 2e6].map(joules), ["5.000 J", "1.234 kJ", "2.000 MJ"]);
    }

    #[test]
    fn absent_unreadable_and_zero_look_different() {
        let unreadable = Reading::unreadable("denied");
        let readings = [Reading::Value(0.0), Reading::Absent, unreadable];
        assert_eq!(readings.each_ref().map(|r| shown(r, |v| joules(*v))), ["0 J", "-", "x"]);
        assert_eq!(readings.each_ref().map(|r| explained(r, |v| joules(*v))), ["0 J", "-", "x (denied)"]);
        assert_eq!([Some(0.0), None].map(|share| known(share, percent)), ["0.0 %", "-"]);
    }

    #[test]
    fn a_clock_shows_hours_when_there_are_some() {
        let shown = [0.4, 59.6, 61.0, 7325.0].map(|s| clock(Duration::from_secs_f64(s)));
        assert_eq!(shown, ["0:00", "1:00", "1:01", "2:02:05"]);
    }

    #[test]
    fn a_bar_has_its_width() {
        assert_eq!(bar(10, 0.33), "███░░░░░░░");
        assert_eq!(bar(4, 7.0), "████");
        assert_eq!(bar(4, f64::NAN).chars().count(), 4);
    }

    proptest! {
        #[test]
        fn a_short_number_is_right_to_two_digits_and_short(mantissa in 1.0f64..10.0, power in -9i32..12, negative: bool) {
            let value = mantissa * 10f64.powi(power) * if negative { -1.0 } else { 1.0 };
            let text = short(value);
            prop_assert!((text.parse::<f64>().unwrap() / value - 1.0).abs() <= 0.051, "{value} as {text}");
            prop_assert!(text.len() <= 8, "{text}");
        }

        #[test]
        fn a_clock_reads_back(ms in 0u64..100_000_000_000) {
            let text = clock(Duration::from_millis(ms));
            let read = text.split(':').fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap());
            prop_assert_eq!(read, (ms + 500) / 1000);
        }

        #[test]
        fn a_bar_has_its_width_whatever_the_share(width in 0usize..200, share: f64) {
            prop_assert_eq!(bar(width, share).chars().count(), width);
        }

        #[test]
        fn cells_fill_the_bar(width in 0usize..200, parts in prop::array::uniform5(0.0f64..1.0)) {
            let sum: f64 = parts.iter().sum();
            prop_assume!(sum > 0.0);
            let cells = cells(width, parts.map(|part| part / sum));
            prop_assert_eq!(cells.iter().sum::<usize>(), width);
        }

        #[test]
        fn cells_never_leave_the_bar(width in 0usize..200, parts in prop::array::uniform5(any::<f64>())) {
            prop_assert!(cells(width, parts).iter().sum::<usize>() <= width);
        }
    }
}
