//! Quantities as people write and read them: `20W`, `90s`, `60s/epoch`, `512MiB`, `612MHz`, `10%`, `80C`.
//!
//! Every flag, settings key and study reads its quantities here, so that a unit means the same everywhere. A bare
//! number is refused where a unit is needed: `--power-max 20` could be watts or milliwatts. Shares are the
//! exception, as `0.1` and `10%` say the same.
//!
//! ```
//! use footplate_core::{Bytes, Seconds, Share, Watts};
//!
//! assert_eq!("20W".parse(), Ok(Watts(20.0)));
//! assert_eq!("5min".parse(), Ok(Seconds(300.0)));
//! assert_eq!("5m".parse(), Ok(Seconds(300.0)));
//! assert_eq!("512MiB".parse(), Ok(Bytes(512 << 20)));
//! assert_eq!("1%".parse(), Ok(Share(0.01)));
//! let error = "20".parse::<Watts>().unwrap_err();
//! assert_eq!(error.to_string(), "`20` has no unit; write it like 20W (units: mW, W, kW)");
//! ```

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::units::{Bytes, Celsius, Hertz, Joules, Seconds, Share, Watts};

/// Why a text is not a quantity. Each names the text and an example of what is read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum QuantityError {
    /// There is no number before the unit.
    #[error("`{text}` is not {what} such as {example}")]
    NotANumber {
        /// The text that was given.
        text: String,
        /// What was expected, such as "a power".
        what: &'static str,
        /// A text that would be read.
        example: &'static str,
    },
    /// It is a bare number.
    #[error("`{text}` has no unit; write it like {example} (units: {units})")]
    NoUnit {
        /// The text that was given.
        text: String,
        /// A text that would be read.
        example: &'static str,
        /// All units that are read, in order of size.
        units: String,
    },
    /// Its unit is none of this quantity.
    #[error("`{unit}` in `{text}` is not a unit of {what}; write it like {example} (units: {units})")]
    UnknownUnit {
        /// The text that was given.
        text: String,
        /// The part that was taken for the unit.
        unit: String,
        /// What was expected, such as "a power".
        what: &'static str,
        /// A text that would be read.
        example: &'static str,
        /// All units that are read, in order of size.
        units: String,
    },
    /// Less than nothing, or nothing where there must be something.
    #[error("{text} must be {least}")]
    TooSmall {
        /// The text that was given.
        text: String,
        /// Such as "more than 0".
        least: &'static str,
    },
    /// More than the type holds.
    #[error("{text} is too large")]
    TooLarge {
        /// The text that was given.
        text: String,
    },
    /// A limit of something else than a step, an epoch or the job.
    #[error("`/{0}` is none of /step, /epoch, /job")]
    Per(String),
}

/// What a kind of quantity is called, and its units with their sizes in the base unit.
struct Kind {
    what: &'static str,
    example: &'static str,
    units: &'static [(&'static str, f64)],
    /// Spellings that are read and not listed.
    aliases: &'static [(&'static str, f64)],
}

const POWER: Kind =
    Kind { what: "a power", example: "20W", units: &[("mW", 1e-3), ("W", 1.0), ("kW", 1e3)], aliases: &[] };
const TIME: Kind = Kind {
    what: "a time",
    example: "90s or 5min",
    units: &[("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3600.0), ("d", 86_400.0)],
    aliases: &[("µs", 1e-6), ("sec", 1.0), ("m", 60.0)],
};
const ENERGY: Kind = Kind {
    what: "an energy",
    example: "50kJ",
    units: &[("mJ", 1e-3), ("J", 1.0), ("kJ", 1e3), ("MJ", 1e6), ("Wh", 3600.0), ("kWh", 3.6e6)],
    aliases: &[],
};
const SIZE: Kind = Kind {
    what: "a size",
    example: "512MiB",
    units: &[
        ("B", 1.0),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
    ],
    aliases: &[
        ("KB", 1e3),
        ("K", 1024.0),
        ("M", 1_048_576.0),
        ("G", 1_073_741_824.0),
        ("T", 1_099_511_627_776.0),
    ],
};
const FREQUENCY: Kind = Kind {
    what: "a clock",
    example: "612MHz",
    units: &[("Hz", 1.0), ("kHz", 1e3), ("MHz", 1e6), ("GHz", 1e9)],
    aliases: &[],
};
const TEMPERATURE: Kind =
    Kind { what: "a temperature", example: "80C", units: &[("C", 1.0)], aliases: &[("°C", 1.0)] };

impl Kind {
    fn unit_names(&self) -> String {
        self.units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// The amount in the base unit: a finite number of 0 or more.
    fn read(&self, given: &str) -> Result<f64, QuantityError> {
        let text = given.trim();
        let (what, example) = (self.what, self.example);
        let not_a_number = || QuantityError::NotANumber { text: text.to_owned(), what, example };
        if text.starts_with('-') {
            return Err(QuantityError::TooSmall { text: text.to_owned(), least: "0 or more" });
        }
        let (number, unit) = text.split_at(number_length(text));
        let number: f64 = number.parse().map_err(|_| not_a_number())?;
        let unit = unit.trim_start();
        if unit.is_empty() {
            let units = self.unit_names();
            return Err(QuantityError::NoUnit { text: text.to_owned(), example, units });
        }
        let found = self.units.iter().chain(self.aliases).find(|(name, _)| *name == unit);
        let Some((_, factor)) = found else {
            let (unit, units) = (unit.to_owned(), self.unit_names());
            return Err(QuantityError::UnknownUnit { text: text.to_owned(), unit, what, example, units });
        };
        // One multiplication less keeps whole numbers of small units exact.
        let value = if *factor < 1.0 { number / (1.0 / factor).round() } else { number * factor };
        if value.is_finite() { Ok(value) } else { Err(QuantityError::TooLarge { text: text.to_owned() }) }
    }
}

/// Bytes of `text` that are a number: digits, a point, an exponent that has digits.
fn number_length(text: &str) -> usize {
    let digits = |from: usize| text[from..].bytes().take_while(u8::is_ascii_digit).count();
    let mut length = digits(0);
    if text[length..].starts_with('.') {
        length += 1 + digits(length + 1);
    }
    let rest = &text[length..];
    if rest.starts_with(['e', 'E']) {
        let sign = usize::from(rest[1..].starts_with(['+', '-']));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    length
}

macro_rules! read_as {
    ($($name:ident from $kind:ident),* $(,)?) => {$(
        impl FromStr for $name {
            type Err = QuantityError;

            fn from_str(text: &str) -> Result<Self, QuantityError> {
                $kind.read(text).map(Self)
            }
        }
    )*};
}
read_as!(Watts from POWER, Seconds from TIME, Joules from ENERGY, Celsius from TEMPERATURE);

/// A whole number of the base unit, to the nearest.
fn whole(kind: &Kind, text: &str) -> Result<u64, QuantityError> {
    let value = kind.read(text)?.round();
    // Settings files hold signed 64-bit numbers.
    if value < i64::MAX as f64 {
        Ok(value as u64)
    } else {
        Err(QuantityError::TooLarge { text: text.trim().to_owned() })
    }
}

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        whole(&SIZE, text).map(Self)
    }
}

impl FromStr for Hertz {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        match whole(&FREQUENCY, text)? {
            0 => Err(QuantityError::TooSmall { text: text.trim().to_owned(), least: "1 Hz or more" }),
            hz => Ok(Self(hz)),
        }
    }
}

impl FromStr for Share {
    type Err = QuantityError;

    fn from_str(given: &str) -> Result<Self, QuantityError> {
        let text = given.trim();
        let (number, percent) = match text.strip_suffix('%') {
            Some(number) => (number.trim_end(), true),
            None => (text, false),
        };
        let wrong =
            || QuantityError::NotANumber { text: text.to_owned(), what: "a share", example: "10% or 0.1" };
        if number.starts_with('-') {
            return Err(QuantityError::TooSmall { text: text.to_owned(), least: "a share of at least 0" });
        }
        if number.is_empty() || number_length(number) != number.len() {
            return Err(wrong());
        }
        let value: f64 = number.parse().map_err(|_| wrong())?;
        match if percent { value / 100.0 } else { value } {
            value if value.is_finite() => Ok(Self(value)),
            _ => Err(QuantityError::TooLarge { text: text.to_owned() }),
        }
    }
}

/// Of what a time or an energy is the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// Of one training step.
    Step,
    /// One pass over the training data.
    Epoch,
    /// Of the whole job.
    Job,
}

/// A limit on a time or an energy, such as `2h`, `60s/epoch` or `2J/step`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Seconds or joules; more than 0.
    pub value: f64,
    /// The part of the job that it is a limit of.
    pub per: Per,
}

/// Watts that something may take: more than 0.
pub fn power_limit(text: &str) -> Result<Watts, QuantityError> {
    POWER.read(text).and_then(|watts| positive(watts, text)).map(Watts)
}

/// Degrees Celsius that something may reach: more than 0.
pub fn temperature_limit(text: &str) -> Result<Celsius, QuantityError> {
    TEMPERATURE.read(text).and_then(|celsius| positive(celsius, text)).map(Celsius)
}

/// Seconds of the job, or of a step or an epoch: `2h`, `90s/epoch`, `100ms/step`.
pub fn time_limit(text: &str) -> Result<Limit, QuantityError> {
    limit(&TIME, text)
}

/// Joules of the job, or of a step or an epoch: `50kJ`, `2J/step`.
pub fn energy_limit(text: &str) -> Result<Limit, QuantityError> {
    limit(&ENERGY, text)
}

fn limit(kind: &Kind, text: &str) -> Result<Limit, QuantityError> {
    let (amount, per) = match text.split_once('/') {
        None => (text, Per::Job),
        Some((amount, "step")) => (amount, Per::Step),
        Some((amount, "epoch")) => (amount, Per::Epoch),
        Some((amount, "job")) => (amount, Per::Job),
        Some((_, other)) => return Err(QuantityError::Per(other.to_owned())),
    };
    Ok(Limit { value: positive(kind.read(amount)?, text)?, per })
}

fn positive(value: f64, text: &str) -> Result<f64, QuantityError> {
    let too_small = || QuantityError::TooSmall { text: text.trim().to_owned(), least: "more than 0" };
    (value > 0.0).then_some(value).ok_or_else(too_small)
}

/// Reads a quantity from a settings file, for `#[serde(deserialize_with = "…")]`: the words of the command line,
/// in quotes. A bare number is refused, as it is there.
pub fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = QuantityError>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Text(String),
        Whole(i64),
        Number(f64),
    }
    let text = match Given::deserialize(deserializer)? {
        Given::Text(text) => text,
        Given::Whole(number) => number.to_string(),
        Given::Number(number) => number.to_string(),
    };
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests;
