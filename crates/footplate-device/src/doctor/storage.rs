//! Whether storage keeps up with what the steps of a job take.

use super::Level;

/// Storage that gives only so many times what the steps take has no room for a bad moment.
const MARGIN: f64 = 1.2;

/// What storage gives, judged by what the steps take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StorageVerdict {
    /// One of the two rates is not known.
    Unknown,
    /// More than the steps take, with a margin.
    Enough,
    /// More than the steps take, by less than a fifth.
    JustEnough,
    /// Less than the steps take: they wait for data.
    Waits {
        /// The part of the time that is waited, 0 to 1.
        share: f64,
    },
}

impl StorageVerdict {
    /// Compares samples per second: what storage gives, and what the steps take.
    pub fn of(gives_per_s: Option<f64>, takes_per_s: Option<f64>) -> Self {
        match gives_per_s.zip(takes_per_s).map(|(gives, takes)| gives / takes) {
            None => Self::Unknown,
            Some(ratio) if ratio < 1.0 => Self::Waits { share: 1.0 - ratio },
            Some(ratio) if ratio < MARGIN => Self::JustEnough,
            Some(_) => Self::Enough,
        }
    }

    /// How bad it is; what is not known is nothing to warn of.
    pub fn level(self) -> Level {
        match self {
            Self::Unknown | Self::Enough => Level::Ok,
            Self::JustEnough => Level::Note,
            Self::Waits { .. } => Level::Warning,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_is_judged_by_what_the_steps_take() {
        let judged = |gives: f64| StorageVerdict::of(Some(gives), Some(100.0));
        assert_eq!(judged(50.0), StorageVerdict::Waits { share: 0.5 });
        assert_eq!(judged(100.0), StorageVerdict::JustEnough);
        assert_eq!(judged(119.0), StorageVerdict::JustEnough);
        assert_eq!(judged(120.0), StorageVerdict::Enough);
        assert_eq!(judged(0.0), StorageVerdict::Waits { share: 1.0 });
        let levels = [50.0, 110.0, 500.0].map(|gives| judged(gives).level());
        assert_eq!(levels, [Level::Warning, Level::Note, Level::Ok]);
    }

    #[test]
    fn without_both_rates_nothing_is_judged() {
        for (gives, takes) in [(None, Some(1.0)), (Some(1.0), None), (None, None)] {
            assert_eq!(StorageVerdict::of(gives, takes), StorageVerdict::Unknown);
        }
        assert_eq!(StorageVerdict::Unknown.level(), Level::Ok);
    }
}
