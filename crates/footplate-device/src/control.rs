//! Sets modes: journal first, then the planned writes, then a read-back that says why what was got differs from
//! what was asked.

use footplate_core::ports::{Applied, ControlError, PowerControl};
use footplate_core::power_mode::{ModeSpace, Preset};
use footplate_core::{Hertz, PowerMode};

use crate::discover::{Device, MHZ};
use crate::guard::Guard;
use crate::knob::{Hold, ModeTarget, Snapshot, Write, clock, cpu, emc, gpu, limit, plan};
use crate::perform::{self, fatal, perform};
use crate::preset::Presets;

pub use crate::perform::{Wait, first_refusal, restore};

/// A clock this far below the asked one is told.
const CLOCK_SHARE_MIN: f64 = 0.97;

/// The controls of a device: sets modes, reads them back, and puts back what was set before when it is dropped.
///
/// ```
/// use footplate_core::ports::PowerControl;
/// use footplate_device::knob::Hold;
/// use footplate_device::sim::SimOptions;
/// use footplate_device::{Control, Device, Presets, SimBoard};
///
/// let board = SimBoard::new("tx2", SimOptions::default())?;
/// let device = Device::discover(board.root());
/// let mut control = Control::new(device, &Presets::default(), Hold::Pinned, None);
/// let before = control.present()?;
/// let slowest = control.space().modes()[0];
/// let applied = control.apply(&slowest)?;
/// // What was read back is what was asked for; else the warnings say why not.
/// assert_eq!((applied.got, applied.warnings.len()), (slowest, 0));
/// control.restore()?;
/// assert_eq!(control.present()?.cpu_hz, before.cpu_hz);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Control {
    device: Device,
    space: ModeSpace,
    presets: Vec<Preset>,
    hold: Hold,
    wait: Wait,
    /// What was set before the first write, and the journal that outlives this process.
    saved: Option<Snapshot>,
    guard: Option<Guard>,
}

impl Control {
    /// The controls of a device. Without a guard a crash leaves the machine as it is.
    pub fn new(device: Device, presets: &Presets, hold: Hold, guard: Option<Guard>) -> Self {
        let space = device.space();
        let named = |mode: &crate::preset::NamedMode| Preset { name: mode.name.clone(), mode: mode.mode };
        let presets = presets.modes.iter().map(named).collect();
        Self { device, space, presets, hold, wait: perform::sleep(), saved: None, guard }
    }

    /// The same controls with another way to wait.
    pub fn with_wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// The device whose controls these are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The writes that a target would take, in order.
    pub fn plan(&self, target: &ModeTarget) -> Vec<Write> {
        plan(&self.device, &Snapshot::read(&self.device.root, &self.device), target)
    }

    /// Sets a target and reads it back. What was set before goes to the journal first.
    pub fn set(&mut self, target: &ModeTarget, asked: &PowerMode) -> Result<Applied, ControlError> {
        let present = Snapshot::read(&self.device.root, &self.device);
        let writes = plan(&self.device, &present, target);
        // A write that is sure to be refused is told before anything is changed.
        if let Some(error) = first_refusal(&self.device, &writes) {
            return Err(error);
        }
        if self.saved.is_none() && !writes.is_empty() {
            if let Some(guard) = &mut self.guard {
                guard.save(self.device.facts.id, &present).map_err(|e| fatal(&e))?;
            }
            self.saved = Some(present);
        }
        perform(&self.device, &writes, &self.wait)?;
        Ok(self.read_back(target, asked))
    }

    /// Leaves what was set and forgets what was before.
    pub fn keep(&mut self) -> Result<(), ControlError> {
        self.saved = None;
        match self.guard.take() {
            Some(guard) => guard.clear().map_err(|e| fatal(&e)),
            None => Ok(()),
        }
    }

    fn read_back(&self, target: &ModeTarget, asked: &PowerMode) -> Applied {
        let now = Snapshot::read(&self.device.root, &self.device);
        let got = present_mode(&self.device, &now);
        let got = PowerMode {
            cpu_cores: asked.cpu_cores.and(got.cpu_cores),
            cpu_hz: asked.cpu_hz.and(got.cpu_hz),
            gpu_hz: asked.gpu_hz.and(got.gpu_hz),
            emc_hz: asked.emc_hz.and(got.emc_hz),
            gpu_power_limit_mw: asked.gpu_power_limit_mw.and(got.gpu_power_limit_mw),
        };
        let warnings = self.differences(target, &now);
        Applied { asked: *asked, got, warnings }
    }

    /// What was not taken, knob by knob, with the cause as far as it can be seen.
    fn differences(&self, target: &ModeTarget, now: &Snapshot) -> Vec<String> {
        let mut warnings = Vec::new();
        let device = &self.device;
        if let Some(wanted) = &target.online {
            let online = cpu::online(&device.cpu, now);
            let missing: Vec<String> =
                wanted.iter().filter(|cpu| !online.contains(cpu)).map(u32::to_string).collect();
            if !missing.is_empty() {
                warnings.push(format!("CPU {} did not come online", missing.join(", ")));
            }
        }
        if let Some(range) = target.cpu_khz {
            let online = cpu::online(&device.cpu, now);
            for policy in device.cpu.policies.iter().filter(|p| p.cpus.iter().any(|c| online.contains(c))) {
                let wanted = (policy.at_most(range.min), policy.at_most(range.max));
                let got = cpu::limits(policy, now);
                if let (Some(min), Some(max), Some(got)) = (wanted.0, wanted.1, got)
                    && (got.min, got.max) != (min, max)
                {
                    warnings.push(format!(
                        "{}: asked for {min} to {max} kHz, got {} to {}: {}",
                        policy.path,
                        got.min,
                        got.max,
                        self.cause()
                    ));
                }
                let current = format!("{}/scaling_cur_freq", policy.path);
                if range.min == range.max
                    && let (Some(max), Ok(khz)) = (wanted.1, device.root.number::<u64>(&current))
                    && (khz as f64) < CLOCK_SHARE_MIN * max as f64
                {
                    warnings.push(format!("{}: runs at {khz} kHz: {}", policy.path, self.cause()));
                }
            }
        }
        warnings.extend(self.gpu_differences(target, now));
        warnings.extend(self.emc_differences(target, now));
        for gpu in device.settable_clocks() {
            if let Some(asked) = target.gpu_hz.and_then(|range| gpu.at_most(range.max))
                && let Some(got) = now.number(&gpu.path).map(|mhz| mhz * MHZ)
                && asked != got
            {
                warnings.push(format!("{}: asked for {}, got {}", gpu.path, Hertz(asked), Hertz(got)));
            }
        }
        if let (Some(asked), Some(got)) = (target.gpu_limit_mw, limit::present(device.settable_limits(), now))
            && asked != got
        {
            warnings
                .push(format!("GPU: asked for a limit of {asked} mW, got {got}: its own range ends there"));
        }
        warnings
    }

    fn gpu_differences(&self, target: &ModeTarget, now: &Snapshot) -> Vec<String> {
        let mut warnings = Vec::new();
        let (Some(knob), Some(range)) = (&self.device.gpu, target.gpu_hz) else { return warnings };
        if let Some(got) = gpu::limits(knob, now)
            && (got.min, got.max) != (range.min, range.max)
        {
            warnings.push(format!(
                "GPU: asked for {} to {} Hz, got {} to {}: {}",
                range.min,
                range.max,
                got.min,
                got.max,
                self.cause()
            ));
        }
        let current = self.device.root.number::<u64>(&format!("{}/cur_freq", knob.path));
        // Without power it reads 0, which says nothing of its limits; a switch that was turned on makes it a fault.
        if range.min == range.max
            && let Ok(hz) = current
            && (hz as f64) < CLOCK_SHARE_MIN * range.max as f64
            && (hz > 0 || knob.power.is_some())
        {
            let cause = if hz == 0 { "it is powered down".to_owned() } else { self.cause() };
            warnings.push(format!("GPU: runs at {hz} Hz: {cause}"));
        }
        warnings
    }

    fn emc_differences(&self, target: &ModeTarget, now: &Snapshot) -> Option<String> {
        let (knob, wanted) = (self.device.emc.as_ref()?, target.emc?);
        let emc::EmcTarget::Lock(hz) = wanted else { return None };
        if !knob.can_lock {
            return Some(format!("EMC: capped at {hz} Hz, not locked: its lock cannot be reached"));
        }
        let got = now.number(&knob.rate_path())?;
        (got != hz).then(|| format!("EMC: asked for {hz} Hz, got {got}: the firmware's own limit is lower"))
    }

    /// Why a limit is lower than asked: a cooling device that is active, or another user of the kernel's limits.
    fn cause(&self) -> String {
        let throttles = |kind: &str| self.device.facts.throttles(kind);
        let active = self.device.cooling.iter().filter(|cooling| throttles(&cooling.kind)).find(|cooling| {
            let state = self.device.root.number::<u64>(&format!("{}/cur_state", cooling.path));
            state.is_ok_and(|state| state > 0)
        });
        match active {
            Some(cooling) => format!("thermal limit ({} is active)", cooling.kind),
            None => "another limit of the kernel (QoS) is in force".to_owned(),
        }
    }
}

impl PowerControl for Control {
    fn space(&self) -> &ModeSpace {
        &self.space
    }

    fn presets(&self) -> &[Preset] {
        &self.presets
    }

    fn present(&mut self) -> Result<PowerMode, ControlError> {
        Ok(present_mode(&self.device, &Snapshot::read(&self.device.root, &self.device)))
    }

    fn apply(&mut self, mode: &PowerMode) -> Result<Applied, ControlError> {
        let target = ModeTarget::of(&self.device, mode, self.hold);
        self.set(&target, mode)
    }

    fn restore(&mut self) -> Result<(), ControlError> {
        if let Some(saved) = self.saved.take() {
            restore(&self.device, &saved, &self.wait)?;
        }
        match &mut self.guard {
            // A journal that another process left is not ours to remove.
            Some(guard) if guard.has_saved() => guard.forget().map_err(|e| fatal(&e)),
            _ => Ok(()),
        }
    }
}

impl Drop for Control {
    /// An error or a panic comes by here: the machine is put back. What fails stays in the journal.
    fn drop(&mut self) {
        let _ = self.restore();
    }
}

/// The present mode: cores on, upper limits, and the EMC's clock. What cannot be read is `None`.
pub fn present_mode(device: &Device, now: &Snapshot) -> PowerMode {
    let online = cpu::online(&device.cpu, now);
    let on = |policy: &&crate::discover::Policy| policy.cpus.iter().any(|cpu| online.contains(cpu));
    let cpu_khz =
        device.cpu.policies.iter().filter(on).filter_map(|p| cpu::limits(p, now)).map(|r| r.max).max();
    PowerMode {
        cpu_cores: (!online.is_empty()).then_some(online.len() as u32),
        cpu_hz: cpu_khz.map(|khz| Hertz(khz * 1000)),
        gpu_hz: match &device.gpu {
            Some(knob) => gpu::limits(knob, now).map(|range| Hertz(range.max)),
            None => clock::present(device.settable_clocks(), now).map(Hertz),
        },
        emc_hz: device.emc.as_ref().and_then(|knob| now.number(&knob.rate_path())).map(Hertz),
        gpu_power_limit_mw: limit::present(device.settable_limits(), now),
    }
}
