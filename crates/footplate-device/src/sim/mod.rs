//! A whole simulated board behind the `Tree` seam: files with the kernel's rules, physics, sensors, heat.
//!
//! Nothing here measures anything: whoever shows a figure of a simulated board says that it is simulated.
//! `docs/boards/simulated.md` tells what the model holds and what it leaves out.

mod kernel;
mod layout;
mod params;
mod physics;
mod sensor;
mod state;
mod surface;
mod workload;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use footplate_core::ports::Clock;
use footplate_core::{Celsius, Joules, Watts};

use crate::board::{self, BoardFacts, Release};
use crate::clock::RealClock;
use crate::error::DeviceError;
use crate::memory_tree::MemoryTree;
use crate::root::Root;
use crate::tree::{Probe, Tree};

use self::layout::LiveNode;
pub use self::physics::Activity;
use self::state::BoardState;
pub use self::surface::{
    Replay, Surface, SurfaceClock, SurfaceControl, SurfaceMeter, SurfaceWorkload, TrueCost,
};
pub use self::workload::{SimWorkload, WorkloadProfile};

/// How a simulated board is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimOptions {
    /// Whether root looks at it.
    pub root: bool,
    /// Seed of all noise.
    pub seed: u64,
    /// Standard deviation of the power over 50 ms, as a share.
    pub power_noise: f64,
    /// Standard deviation of a step's duration, as a share.
    pub time_noise: f64,
    /// Whether the chip warms up and throttles; without it leakage is that of 50 °C.
    pub heat: bool,
    /// The air's temperature, in °C.
    pub air_c: f64,
}

impl Default for SimOptions {
    /// Seen by root, with heat, without noise.
    fn default() -> Self {
        Self { root: true, seed: 0, power_noise: 0.0, time_noise: 0.0, heat: true, air_c: 25.0 }
    }
}

/// What can be made to go wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// A write is denied.
    WriteDenied {
        /// The node, by its real path.
        path: String,
    },
    /// A write seems to work and changes nothing.
    DoesNotStick {
        /// The node, by its path; links are followed.
        path: String,
    },
    /// A sensor shows its last value for ever; `since_ns` and `watts` are filled in when it is injected.
    SensorStalls {
        /// The node, by its path; links are followed.
        path: String,
        /// From when on, in nanoseconds of the board's clock.
        since_ns: u64,
        /// The power that it goes on to show, in watts.
        watts: f64,
    },
    /// A sensor shows a multiple of what is there.
    SensorJumps {
        /// The node, by its path; links are followed.
        path: String,
        /// How many times what is there.
        factor: f64,
        /// Until when, in nanoseconds of the board's clock.
        until_ns: u64,
    },
    /// A node's read gives this error number from now on.
    ReadFails {
        /// The node, by its path; links are followed.
        path: String,
        /// The error's number as Linux has it, such as 13 for EACCES.
        errno: i32,
    },
    /// A node is gone.
    Vanishes {
        /// The node, by its path; all below it goes too.
        path: String,
    },
    /// A core that was switched off does not come back.
    CoreStaysOff {
        /// The core's number.
        cpu: u32,
    },
}

impl Fault {
    fn path(&self) -> Option<&str> {
        match self {
            Self::WriteDenied { path }
            | Self::DoesNotStick { path }
            | Self::SensorStalls { path, .. }
            | Self::SensorJumps { path, .. }
            | Self::ReadFails { path, .. }
            | Self::Vanishes { path } => Some(path),
            Self::CoreStaysOff { .. } => None,
        }
    }
}

/// How a board's time passes.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// Only when someone waits on its clock.
    Manual,
    /// With the machine's own monotonic clock.
    Real(RealClock),
}

/// A simulated board. Clones are the same board.
#[derive(Clone)]
pub struct SimBoard {
    inner: Arc<Inner>,
}

type Tick = Box<dyn FnMut(u64) -> u64 + Send>;

struct Inner {
    name: String,
    pace: Pace,
    tree: MemoryTree,
    live: BTreeMap<String, LiveNode>,
    state: Mutex<BoardState>,
    /// What is called when its time has come: (when, what). Gives the next moment.
    ticks: Mutex<Vec<(u64, Tick)>>,
}

impl SimBoard {
    /// The names that `new` takes.
    pub fn names() -> Vec<&'static str> {
        board::BOARDS.iter().map(|board| board.id).collect()
    }

    /// A board by name, such as `agx-orin`, or with a release, such as `agx-orin@r36`. Its time passes only when
    /// someone waits on its clock.
    pub fn new(name: &str, options: SimOptions) -> Result<Self, DeviceError> {
        Self::with_pace(name, options, Pace::Manual)
    }

    /// The same with real time, counted from `origin`: the origin of the clock that everything else reads.
    pub fn in_real_time(name: &str, options: SimOptions, origin: Instant) -> Result<Self, DeviceError> {
        Self::with_pace(name, options, Pace::Real(RealClock::since(origin)))
    }

    fn with_pace(name: &str, options: SimOptions, pace: Pace) -> Result<Self, DeviceError> {
        let (facts, release) = find(name)?;
        let physics = params::physics(facts.id)
            .ok_or_else(|| DeviceError::Other(format!("there is no simulated {}", facts.name)))?;
        let layout = layout::layout(facts, release, &facts.modules[release.module], options.root);
        let state = BoardState::new(facts, release, physics, options);
        let inner = Inner {
            name: format!("{}@{}", facts.id, release.id),
            pace,
            tree: layout.tree,
            live: layout.live,
            state: Mutex::new(state),
            ticks: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The board and its release, such as `agx-orin@r35`.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its files, as a machine's gate to discovery, control and meter.
    pub fn root(&self) -> Root {
        Root::simulated(&self.inner.name, Arc::new(SimTree { board: self.clone() }))
    }

    /// The clock by which its time passes.
    pub fn clock(&self) -> SimClock {
        SimClock { board: self.clone() }
    }

    /// Says how busy the board is from now on.
    pub fn set_activity(&self, activity: Activity) {
        self.state().set_activity(activity);
    }

    /// Sets the power above which the over-current limiter acts, such as that of a weak supply.
    pub fn limit_current(&self, watts: f64) {
        self.state().limit_current(watts);
    }

    /// Energy drawn since the board was switched on: the truth that a sensor only approaches.
    pub fn true_energy(&self) -> Joules {
        Joules(self.state().energy_j())
    }

    /// Mean power over a stretch of the last seconds, exactly.
    pub fn true_mean_power(&self, from_ns: u64, to_ns: u64) -> Watts {
        Watts(self.state().mean_total_w(from_ns, to_ns))
    }

    /// The chip's temperature now.
    pub fn temperature(&self) -> Celsius {
        Celsius(self.state().temperature_c())
    }

    /// Makes something go wrong. A path may go through links.
    pub fn inject(&self, fault: Fault) {
        let resolved = fault.path().and_then(|path| self.inner.tree.resolved(path).ok());
        let live = resolved.as_ref().and_then(|path| self.inner.live.get(path)).copied();
        let fault = match resolved {
            Some(resolved) => fault.at(resolved),
            None => fault,
        };
        if let Fault::Vanishes { path } = &fault {
            self.inner.tree.remove(path);
        }
        self.state().inject(fault, live);
    }

    /// Ends all faults but vanished nodes.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.kernel.dead_core = None;
    }

    /// A job that runs on this board.
    pub fn workload(&self, profile: WorkloadProfile) -> SimWorkload {
        SimWorkload::new(self.clone(), profile)
    }

    /// Calls `tick` whenever its time has come, on a manual clock. It is given the time and gives the next one.
    pub(crate) fn call_at(&self, first_ns: u64, tick: Tick) {
        self.ticks().push((first_ns, tick));
    }

    /// Whether time passes by itself.
    pub fn is_real_time(&self) -> bool {
        matches!(self.inner.pace, Pace::Real(_))
    }

    /// The state, brought up to the present.
    fn state(&self) -> MutexGuard<'_, BoardState> {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Pace::Real(clock) = self.inner.pace {
            state.advance_to(clock.now_ns());
        }
        state
    }

    fn ticks(&self) -> MutexGuard<'_, Vec<(u64, Tick)>> {
        self.inner.ticks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass: sleeps, or moves the manual clock and calls what is due on the way.
    fn wait(&self, duration_ns: u64) {
        if let Pace::Real(clock) = self.inner.pace {
            return clock.wait_ns(duration_ns);
        }
        let end = self.state().now_ns() + duration_ns;
        loop {
            let mut ticks = self.ticks();
            let next = ticks.iter_mut().min_by_key(|(due, _)| *due).filter(|(due, _)| *due <= end);
            let Some((due, tick)) = next else { break };
            // What is called reads the board: the state must not be locked then.
            self.state().advance_to(*due);
            *due = tick(*due).max(*due + 1);
        }
        self.state().advance_to(end);
    }
}

impl Fault {
    fn at(self, real: String) -> Self {
        match self {
            Self::WriteDenied { .. } => Self::WriteDenied { path: real },
            Self::DoesNotStick { .. } => Self::DoesNotStick { path: real },
            Self::SensorStalls { since_ns, watts, .. } => Self::SensorStalls { path: real, since_ns, watts },
            Self::SensorJumps { factor, until_ns, .. } => Self::SensorJumps { path: real, factor, until_ns },
            Self::ReadFails { errno, .. } => Self::ReadFails { path: real, errno },
            Self::Vanishes { .. } => Self::Vanishes { path: real },
            Self::CoreStaysOff { cpu } => Self::CoreStaysOff { cpu },
        }
    }
}

fn find(name: &str) -> Result<(&'static BoardFacts, &'static Release), DeviceError> {
    let (id, release) = match name.split_once('@') {
        Some((id, release)) => (id, Some(release)),
        None => (name, None),
    };
    let names = SimBoard::names().join(", ");
    let facts = board::by_id(id).ok_or_else(|| {
        DeviceError::Other(format!("there is no simulated board `{id}`; there are {names}"))
    })?;
    let release = facts.release(release).ok_or_else(|| {
        let known = facts.releases.iter().map(|release| release.id).collect::<Vec<_>>().join(", ");
        DeviceError::Other(format!("`{name}`: the releases of {id} are {known}"))
    })?;
    Ok((facts, release))
}

/// A simulated board's clock.
#[derive(Clone)]
pub struct SimClock {
    board: SimBoard,
}

impl Clock for SimClock {
    fn now_ns(&self) -> u64 {
        self.board.state().now_ns()
    }

    fn wait_ns(&self, duration_ns: u64) {
        self.board.wait(duration_ns);
    }
}

struct SimTree {
    board: SimBoard,
}

impl SimTree {
    /// The real path and what lives there.
    fn live(&self, path: &str) -> io::Result<(String, Option<LiveNode>)> {
        let real = self.board.inner.tree.resolved(path)?;
        let live = self.board.inner.live.get(&real).copied();
        Ok((real, live))
    }

    fn read_live(&self, path: &str, live: LiveNode) -> io::Result<String> {
        let state = self.board.state();
        let fails = state.faults.iter().find_map(|fault| match fault {
            Fault::ReadFails { path: at, errno } if at == path => Some(*errno),
            _ => None,
        });
        match fails {
            Some(errno) => Err(kernel::fault(errno)),
            None => state.read(path, live),
        }
    }
}

impl Tree for SimTree {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let (real, live) = self.live(path)?;
        let fixed = self.board.inner.tree.read(&real)?;
        match live {
            Some(live) => Ok(format!("{}\n", self.read_live(&real, live)?).into_bytes()),
            None => Ok(fixed),
        }
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let (real, live) = self.live(path)?;
        self.board.inner.tree.writable(&real)?;
        match live {
            Some(live) => self.board.state().write(&real, live, value),
            None => self.board.inner.tree.write(&real, value),
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.board.inner.tree.list(path)
    }

    fn link(&self, path: &str) -> io::Result<String> {
        self.board.inner.tree.link(path)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.board.inner.tree.exists(path)
    }

    fn writable(&self, path: &str) -> io::Result<()> {
        self.board.inner.tree.writable(path)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Probe>> {
        let (real, live) = self.live(path)?;
        self.board.inner.tree.read(&real)?;
        Ok(Box::new(SimProbe { tree: Self { board: self.board.clone() }, real, live }))
    }
}

struct SimProbe {
    tree: SimTree,
    real: String,
    live: Option<LiveNode>,
}

impl Probe for SimProbe {
    fn read(&mut self, text: &mut String) -> io::Result<()> {
        let bytes = self.tree.board.inner.tree.read(&self.real)?;
        text.clear();
        match self.live {
            Some(live) => {
                text.push_str(&self.tree.read_live(&self.real, live)?);
                text.push('\n');
            }
            None => text.push_str(&String::from_utf8_lossy(&bytes)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
