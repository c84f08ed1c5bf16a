//! Limits as users write them: `20W`, `2h`, `90s/epoch`, `50kJ`, `10%`.

use serde::{Deserialize, Serialize};

/// Of what a time or an energy is the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Per {
    /// One step.
    Step,
    /// One epoch.
    Epoch,
    /// The whole job.
    Job,
}

/// A limit on a time or an energy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    /// Seconds or joules.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) per: Per,
}

const POWERS: [(&str, f64); 3] = [("mW", 1e-3), ("W", 1.0), ("kW", 1e3)];
const TIMES: [(&str, f64); 5] = [("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3600.0), ("d", 86_400.0)];
const ENERGIES: [(&str, f64); 6] =
    [("mJ", 1e-3), ("J", 1.0), ("kJ", 1e3), ("MJ", 1e6), ("Wh", 3600.0), ("kWh", 3.6e6)];

/// Watts, from `20W`, `20`, `500 mW`.
pub(crate) fn power(text: &str) -> Result<f64, String> {
    scaled(text, &POWERS, "20W")
}

/// Seconds of the job, or of a step or an epoch: `2h`, `90s/epoch`, `100ms/step`.
pub(crate) fn time(text: &str) -> Result<Limit, String> {
    limit(text, &TIMES, "2h or 90s/epoch")
}

/// Joules of the job, or of a step or an epoch: `50kJ`, `2J/step`.
pub(crate) fn energy(text: &str) -> Result<Limit, String> {
    limit(text, &ENERGIES, "50kJ or 900J/epoch")
}

/// A share, from `10%` or `0.1`.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let (number, factor) = match text.trim().strip_suffix('%') {
        Some(number) => (number, 0.01),
        None => (text, 1.0),
    };
    let value: f64 = number.trim().parse().map_err(|_| format!("`{text}` is no share; write 10% or 0.1"))?;
    (value.is_finite() && value >= 0.0)
        .then_some(value * factor)
        .ok_or_else(|| format!("{text} must be a share of at least 0"))
}

/// A temperature in degrees Celsius, from `80`, `80C`, `80°C`.
pub(crate) fn temperature(text: &str) -> Result<f64, String> {
    scaled(text, &[("C", 1.0), ("°C", 1.0)], "80C")
}

fn limit(text: &str, units: &[(&str, f64)], example: &str) -> Result<Limit, String> {
    let (amount, per) = match text.split_once('/') {
        None => (text, Per::Job),
        Some((amount, "step")) => (amount, Per::Step),
        Some((amount, "epoch")) => (amount, Per::Epoch),
        Some((amount, "job")) => (amount, Per::Job),
        Some((_, other)) => return Err(format!("`/{other}` is none of /step, /epoch, /job")),
    };
    Ok(Limit { value: scaled(amount, units, example)?, per })
}

fn scaled(text: &str, units: &[(&str, f64)], example: &str) -> Result<f64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let wrong = || format!("`{text}` is not understood; write it like {example}");
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit = unit.trim();
    let factor = if unit.is_empty() {
        1.0
    } else {
        units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(wrong)?
    };
    let value = number * factor;
    if value > 0.0 && value.is_finite() { Ok(value) } else { Err(format!("{text} must be more than 0")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units() {
        assert_eq!(power("20W"), Ok(20.0));
        assert_eq!(power("500 mW"), Ok(0.5));
        assert_eq!(power("7.5"), Ok(7.5));
        assert_eq!(time("2h"), Ok(Limit { value: 7200.0, per: Per::Job }));
        assert_eq!(time("90s/epoch"), Ok(Limit { value: 90.0, per: Per::Epoch }));
        assert_eq!(energy("50kJ"), Ok(Limit { value: 50_000.0, per: Per::Job }));
        assert_eq!(energy("2J/step"), Ok(Limit { value: 2.0, per: Per::Step }));
        assert_eq!(share("10%"), Ok(0.1));
        assert_eq!(temperature("80°C"), Ok(80.0));
    }

    #[test]
    fn nonsense_is_told() {
        for text in ["", "W", "20V", "-3W", "0", "1e400", "NaN", "20W/step"] {
            assert!(power(text).is_err(), "{text}");
        }
        assert!(time("3s/minute").is_err() && energy("5h").is_err() && share("-1%").is_err());
    }
}
