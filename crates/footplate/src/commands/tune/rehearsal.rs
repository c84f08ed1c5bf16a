//! What is to change on a simulated board while it trains, to see what becomes of a choice then.

use std::str::FromStr;

use footplate_core::ports::Clock;
use footplate_core::quantity;
use footplate_device::Device;
use footplate_device::sim::{Fault, SimBoard, SimWorkload};

/// One change, from a moment of the training on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Change {
    what: What,
    /// Time of the board since the training in the chosen mode began.
    after_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    /// The sensors show this multiple.
    Power(f64),
    /// Steps take this multiple.
    Time(f64),
    /// The supply gives no more than this many watts: the board throttles above.
    Supply(f64),
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no change; write power=1.3@20s, time=1.5@20s or supply=9W@20s");
        let (what, after) = text.split_once('@').ok_or_else(wrong)?;
        let (name, value) = what.split_once('=').ok_or_else(wrong)?;
        let factor = || value.parse::<f64>().ok().filter(|f| f.is_finite() && *f > 0.0).ok_or_else(wrong);
        let what = match name {
            "power" => What::Power(factor()?),
            "time" => What::Time(factor()?),
            "supply" => What::Supply(quantity::power_limit(value).map_err(|e| e.to_string())?.0),
            _ => return Err(wrong()),
        };
        let after = quantity::time_limit(after).map_err(|e| e.to_string())?;
        Ok(Self { what, after_ns: (after.value * 1e9) as u64 })
    }
}

/// Checks a change and leaves it as it is written: so it stands in `run.toml`.
pub(crate) fn checked(text: &str) -> Result<String, String> {
    text.parse::<Change>().map(|_| text.to_owned())
}

/// The changes of one run.
pub(crate) struct Rehearsal {
    board: SimBoard,
    open: Vec<Change>,
    /// When the training in the chosen mode began.
    began_ns: Option<u64>,
}

impl Rehearsal {
    /// What does not read as a change is left out: it was checked when it was given.
    pub(crate) fn new(board: SimBoard, changes: &[String]) -> Self {
        Self { board, open: changes.iter().filter_map(|text| text.parse().ok()).collect(), began_ns: None }
    }

    /// Makes what is due happen.
    pub(crate) fn advance(&mut self, job: &mut SimWorkload) {
        let now = self.board.clock().now_ns();
        let began = *self.began_ns.get_or_insert(now);
        let (due, open) = self.open.iter().partition(|change| now - began >= change.after_ns);
        self.open = open;
        let due: Vec<Change> = due;
        due.iter().for_each(|change| self.make(change.what, job));
    }

    fn make(&self, what: What, job: &mut SimWorkload) {
        match what {
            What::Time(factor) => job.slow_down(factor),
            What::Supply(watts) => self.board.limit_current(watts),
            What::Power(factor) => {
                // Where voltage is read too it stays: a power is their product.
                for rail in &Device::discover(self.board.root()).rails {
                    for path in [&rail.amps, &rail.watts].into_iter().flatten().cloned() {
                        self.board.inject(Fault::SensorJumps { path, factor, until_ns: u64::MAX });
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_a_kind_a_size_and_a_moment() {
        let change = |text: &str| text.parse::<Change>();
        assert_eq!(change("power=1.3@20s"), Ok(Change { what: What::Power(1.3), after_ns: 20_000_000_000 }));
        assert_eq!(
            change("supply=9W@1min"),
            Ok(Change { what: What::Supply(9.0), after_ns: 60_000_000_000 })
        );
        for bad in ["power=1.3", "power@20s", "power=-1@20s", "heat=2@20s", "time=2@soon", "supply=9V@1s"] {
            assert!(change(bad).is_err(), "{bad}");
        }
    }
}
