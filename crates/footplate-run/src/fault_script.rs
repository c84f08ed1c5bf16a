//! What changes on a simulated board while it trains, to see what becomes of a choice then: `power=1.3@20s`.

use std::str::FromStr;

use footplate_core::ports::Clock;
use footplate_core::quantity::{self, QuantityError};
use footplate_device::Device;
use footplate_device::sim::{Fault, SimBoard, SimWorkload};
use thiserror::Error;

/// One change, from a moment of the training on: `power=FACTOR@TIME`, `time=FACTOR@TIME` or `supply=POWER@TIME`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
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

/// Why a text is not a change.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ChangeError {
    /// It has not the form of one.
    #[error("`{text}` is no change; write power=1.3@20s, time=1.5@20s or supply=9W@20s")]
    Form {
        /// The text that was given.
        text: String,
    },
    /// The supply's power or the moment cannot be read.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
}

impl FromStr for Change {
    type Err = ChangeError;

    fn from_str(text: &str) -> Result<Self, ChangeError> {
        let wrong = || ChangeError::Form { text: text.to_owned() };
        let (what, after) = text.split_once('@').ok_or_else(wrong)?;
        let (name, value) = what.split_once('=').ok_or_else(wrong)?;
        let factor = || value.parse::<f64>().ok().filter(|f| f.is_finite() && *f > 0.0).ok_or_else(wrong);
        let what = match name {
            "power" => What::Power(factor()?),
            "time" => What::Time(factor()?),
            "supply" => What::Supply(quantity::power_limit(value)?.0),
            _ => return Err(wrong()),
        };
        let after = quantity::time_limit(after)?;
        Ok(Self { what, after_ns: (after.value * 1e9) as u64 })
    }
}

/// Checks a change and leaves it as it is written: so it stands in `run.toml`.
pub fn checked(text: &str) -> Result<String, ChangeError> {
    text.parse::<Change>().map(|_| text.to_owned())
}

/// The changes that are still to come on a simulated board.
pub struct FaultScript {
    board: SimBoard,
    open: Vec<Change>,
    /// When the training in the chosen mode began.
    began_ns: Option<u64>,
}

impl FaultScript {
    /// What does not read as a change is left out: it was checked when it was given.
    pub fn new(board: SimBoard, changes: &[String]) -> Self {
        Self { board, open: changes.iter().filter_map(|text| text.parse().ok()).collect(), began_ns: None }
    }

    /// Makes what is due happen.
    pub fn advance(&mut self, job: &mut SimWorkload) {
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
    use footplate_core::ports::Workload;

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

    #[test]
    fn what_cannot_be_read_says_which_part() {
        let error = |text: &str| text.parse::<Change>().unwrap_err().to_string();
        assert!(error("heat=2@20s").contains("power=1.3@20s"));
        assert!(error("supply=9V@1s").contains('V'));
        assert_eq!(checked("time=1.5@1min").as_deref(), Ok("time=1.5@1min"));
    }

    #[test]
    fn changes_happen_once_and_when_their_time_has_come() {
        let board = SimBoard::new("tx2", footplate_device::sim::SimOptions::default()).unwrap();
        let job = footplate_device::sim::WorkloadProfile::training("resnet18", 16).unwrap();
        let mut job = board.workload(job);
        let step_ns = |job: &mut SimWorkload| job.run(1, 0, 1).unwrap()[0].step_ns as f64;
        let before = step_ns(&mut job);
        let texts = ["time=2@10s".to_owned(), "time=3@20s".to_owned(), "not a change".to_owned()];
        let mut script = FaultScript::new(board.clone(), &texts);
        let mut factors = Vec::new();
        for _ in 0..5 {
            script.advance(&mut job);
            factors.push((step_ns(&mut job) / before).round());
            board.clock().wait_ns(10_000_000_000);
        }
        assert_eq!(factors, [1.0, 2.0, 3.0, 3.0, 3.0]);
        assert!(script.open.is_empty());
    }

    #[test]
    fn sensors_that_jump_show_another_power() {
        let board = SimBoard::new("tx2", footplate_device::sim::SimOptions::default()).unwrap();
        let profile = footplate_device::sim::WorkloadProfile::training("resnet18", 16).unwrap();
        let mut job = board.workload(profile);
        let mut machine = footplate_device::Machine::simulated(&board);
        let mut mean_w = || {
            let from = board.clock().now_ns();
            board.clock().wait_ns(5_000_000_000);
            let window = machine.meter().window(from, board.clock().now_ns());
            window.total.into_value().unwrap().mean_power_w.0
        };
        let before = mean_w();
        FaultScript::new(board.clone(), &["power=1.5@0.001s".to_owned()]).advance(&mut job);
        assert!((mean_w() / before - 1.0).abs() < 0.1, "its time has not come");
        let mut script = FaultScript::new(board.clone(), &["power=1.5@1s".to_owned()]);
        script.advance(&mut job);
        board.clock().wait_ns(2_000_000_000);
        script.advance(&mut job);
        let after = mean_w();
        assert!((after / before - 1.5).abs() < 0.1, "{before} W, then {after} W");
    }
}
