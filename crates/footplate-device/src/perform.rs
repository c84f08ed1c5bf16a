//! Performs planned writes, with a bounded number of tries for each, and says what a failed one means.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use footplate_core::ports::{ControlError, Recovery};

use crate::clock::pause;
use crate::discover::Device;
use crate::error::DeviceError;
use crate::knob::{Snapshot, Write, plan_restore};

/// Tries of one write that the system answers with "busy" or "try again".
const TRIES_MAX: u32 = 20;
/// The pause between them; all together no more than a fifth of a second.
const TRY_PAUSE: Duration = Duration::from_millis(10);

/// Lets time pass between tries; a simulated board moves its own clock.
pub type Wait = Arc<dyn Fn(Duration) + Send + Sync>;

/// Waits in real time.
pub(crate) fn sleep() -> Wait {
    Arc::new(pause)
}

/// Puts back what a snapshot holds, and checks it. Repeats once: onlining a core may change what was read before.
pub fn restore(device: &Device, saved: &Snapshot, wait: &Wait) -> Result<(), ControlError> {
    for _ in 0..2 {
        let present = Snapshot::read(&device.root, device);
        let writes = plan_restore(device, &present, saved);
        if writes.is_empty() {
            return Ok(());
        }
        perform(device, &writes, wait)?;
    }
    Ok(())
}

/// The first write that is sure to be refused, told without writing.
pub fn first_refusal(device: &Device, writes: &[Write]) -> Option<ControlError> {
    let refused = |write: &Write| {
        let error = device.root.writable(&write.path).err()?;
        (error.is_permission() || error.is_absent()).then(|| control_error(&error))
    };
    writes.iter().find_map(refused)
}

/// Performs writes in their order; the first that fails ends it.
pub(crate) fn perform(device: &Device, writes: &[Write], wait: &Wait) -> Result<(), ControlError> {
    for write in writes {
        let mut tries = 1;
        while let Err(error) = device.root.write(&write.path, &write.value) {
            if tries == TRIES_MAX || !is_passing(&error) {
                return Err(control_error(&error));
            }
            tries += 1;
            wait(TRY_PAUSE);
        }
    }
    Ok(())
}

/// EBUSY and EAGAIN go away by themselves.
fn is_passing(error: &DeviceError) -> bool {
    error.io().is_some_and(|e| matches!(e.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock))
}

fn control_error(error: &DeviceError) -> ControlError {
    let read_only = error.io().is_some_and(|e| e.kind() == io::ErrorKind::ReadOnlyFilesystem);
    let permission = error.is_permission();
    let recovery = if permission || read_only {
        Recovery::Fatal
    } else if is_passing(error) {
        Recovery::Retry
    } else {
        Recovery::NextMode
    };
    ControlError { recovery, permission, message: error.to_string() }
}

/// A failure after which nothing more can be set, such as that of the journal.
pub(crate) fn fatal(error: &DeviceError) -> ControlError {
    ControlError { recovery: Recovery::Fatal, permission: error.is_permission(), message: error.to_string() }
}
