//! `footplate watch`: the live view of a run in another terminal, or of a finished one.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use footplate_core::Record;
use footplate_core::summary::SummaryBuilder;
use footplate_run::RunFolder;
use footplate_run::log_reader::{Advance, LogFollower};
use footplate_views::live::{Phase, Replay};
use footplate_views::summary;

use crate::failure::{Failure, Kind};
use crate::live::{self, Board, Screen};
use crate::output;
use crate::signals::{self, Intent};
use crate::view::{Detail, View};

/// The log is looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Waits are cut into pieces of this length, so that a key or a signal ends them.
const NAP_MAX: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  footplate watch runs/20261124-101500-resnet18              a run in another terminal, or how a finished one ended
  footplate watch runs/20261124-101500-resnet18 --speed 60   from its beginning, a minute in each second
  footplate watch runs/20261124-101500-resnet18 --plain      the same in lines; ends with the run

It reads the run's log and nothing else; the run does not know of it. `q` leaves.

Exit codes: 0 done, 2 usage, 3 not a run, or a log that cannot be read.";

/// What to watch.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WatchArguments {
    /// The run's folder
    run: PathBuf,

    /// Show it from its beginning, so many times as fast as it was
    #[arg(long, value_name = "X", value_parser = speed)]
    speed: Option<f64>,

    /// Print lines instead of a screen, as where there is no terminal
    #[arg(long)]
    plain: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    let number: f64 = text.trim_end_matches(['x', 'X']).parse().map_err(|_| "not a number".to_owned())?;
    if number.is_finite() && number > 0.0 {
        Ok(number)
    } else {
        Err("must be a number above 0, such as 60".to_owned())
    }
}

pub(crate) fn run(arguments: &WatchArguments) -> Result<ExitCode, Failure> {
    let store = RunFolder::open(&arguments.run)?;
    let detail = Detail::of_run(false, arguments.plain);
    let board = Board::new();
    board.preparing("waiting for the run's first record");
    let stop = signals::watch(|| Intent::Finish)?;
    let mut watch = Watch {
        reader: store.follow_log(),
        board: board.clone(),
        lines: None,
        summary: SummaryBuilder::default(),
        screen: None,
        stop,
        replay: arguments.speed.map(|speed| Replay::new(speed, Duration::ZERO)),
        origin: Instant::now(),
    };
    match detail {
        Detail::Screen => {
            let screen = Screen::start(board, live::Kind::Watch);
            watch.screen = Some(screen.map_err(|e| Failure::new(Kind::Machine, e.to_string()))?);
        }
        _ => watch.lines = Some(View::new(Detail::Plain)),
    }
    let followed = watch.follow();
    let Watch { screen, summary, lines, .. } = watch;
    if let Some(screen) = screen {
        screen.finish();
    }
    followed?;
    if let (Some(_), Some(figures)) = (lines, summary.summary()) {
        output::result(&summary::text(&figures, &summary.energy(), store.path().display()));
    }
    Ok(ExitCode::SUCCESS)
}

struct Watch {
    reader: LogFollower,
    board: Arc<Board>,
    lines: Option<View>,
    summary: SummaryBuilder,
    screen: Option<Screen>,
    stop: Arc<AtomicBool>,
    replay: Option<Replay>,
    origin: Instant,
}

impl Watch {
    /// Reads the log to its end and beyond, until the user has seen enough or, in lines, the run is over.
    fn follow(&mut self) -> Result<(), Failure> {
        let mut is_first = true;
        while !self.is_over() {
            let mut records = Vec::new();
            let advance = self.reader.advance(|record| records.push(record))?;
            self.reader.refuse_newer()?;
            let damaged = self.reader.damaged();
            if advance == Advance::Anew {
                self.board.change(Duration::ZERO, |state| *state = Default::default());
                self.summary = SummaryBuilder::default();
                continue;
            }
            let came = !records.is_empty();
            for record in &records {
                self.show(record);
            }
            if damaged > 0 {
                self.board.damaged_lines(damaged);
            }
            if is_first && self.replay.is_none() {
                self.tell_reading(advance);
            }
            if advance == Advance::End {
                if is_first && came && self.replay.is_none() {
                    // A run that has long been silent is not taken for one that was just written to.
                    self.board.change(self.reader.age(SystemTime::now()), |_| {});
                }
                is_first = false;
                self.board.notice(None);
                let ended = self.board.look(|state, _, _| matches!(state.phase(), Phase::Ended(_)));
                if self.lines.is_some() && ended {
                    return Ok(());
                }
                self.nap(LOOK_EVERY);
            }
        }
        Ok(())
    }

    fn tell_reading(&self, advance: Advance) {
        let (read, all) = self.reader.progress();
        let text = format!("reading the log: {:.0} %", read as f64 / all.max(1) as f64 * 100.0);
        self.board.notice((advance == Advance::More).then_some(text));
    }

    fn show(&mut self, record: &Record) {
        if let Some(replay) = &mut self.replay {
            let wait = replay.wait(record, self.origin.elapsed());
            let speed = replay.speed();
            self.board.notice(Some(format!("shown at {speed} times its speed   q leave")));
            self.nap(wait);
        }
        if self.is_over() {
            return;
        }
        self.board.push(record);
        self.summary.push(record);
        if let Some(lines) = &mut self.lines {
            self.board.look(|state, _, _| lines.show(record, state));
        }
    }

    fn nap(&self, time: Duration) {
        let since = Instant::now();
        while !self.is_over() {
            let left = time.saturating_sub(since.elapsed());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(NAP_MAX));
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.screen.as_ref().is_some_and(Screen::is_left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_above_0() {
        assert_eq!(speed("60"), Ok(60.0));
        assert_eq!(speed("2.5x"), Ok(2.5));
        for bad in ["0", "-1", "fast", "NaN", "inf"] {
            assert!(speed(bad).is_err(), "{bad}");
        }
    }
}
