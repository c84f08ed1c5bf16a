//! Which way a minibatch takes from the decoders to the device: what can be asked for, and what suits whose memory.

use std::fmt;
use std::str::FromStr;

use footplate_data::PixelLayout;
use serde::Deserialize;

use crate::error::TrainError;

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeedChoice {
    /// What suits the device.
    #[default]
    Auto,
    /// The GPU reads what the decoders wrote.
    Mapped,
    /// The GPU reads a copy in its own memory.
    Staged,
    /// The decoders' buffer is the tensor; on the cpu.
    View,
}

impl FromStr for FeedChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "mapped" => Ok(Self::Mapped),
            "staged" => Ok(Self::Staged),
            "view" => Ok(Self::View),
            other => Err(format!("`{other}` is not one of auto, mapped, staged, view")),
        }
    }
}

impl fmt::Display for FeedChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Mapped => "mapped",
            Self::Staged => "staged",
            Self::View => "view",
        })
    }
}

/// Whose memory a device computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceMemory {
    /// The process's own: what the decoders write is the tensor.
    Process,
    /// One that the processor and a GPU share, and that both can address at once.
    #[cfg_attr(
        not(any(feature = "vulkan", test)),
        expect(dead_code, reason = "known of Vulkan devices only")
    )]
    Shared,
    /// A GPU's own, and one beside it that both can address.
    #[cfg_attr(
        not(any(feature = "vulkan", test)),
        expect(dead_code, reason = "known of Vulkan devices only")
    )]
    Own,
    /// A GPU's, reached through Burn only.
    Opaque,
}

/// The way of a minibatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedPath {
    /// The decoders' buffer is the tensor ([`FeedChoice::View`]).
    View,
    /// The GPU reads what the decoders wrote ([`FeedChoice::Mapped`]).
    Mapped,
    /// The GPU reads a copy in its own memory ([`FeedChoice::Staged`]).
    Staged,
}

impl FeedPath {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Mapped => "mapped",
            Self::Staged => "staged",
        }
    }
}

/// The path for a choice and a memory, or why the choice cannot be had there.
pub(crate) fn decide(choice: FeedChoice, memory: DeviceMemory) -> Result<FeedPath, TrainError> {
    let refuse = |reason: &str| {
        Err(TrainError::Setting { setting: "feed", value: choice.to_string(), reason: reason.to_owned() })
    };
    match (choice, memory) {
        (FeedChoice::Auto | FeedChoice::View, DeviceMemory::Process) => Ok(FeedPath::View),
        (FeedChoice::Auto, DeviceMemory::Shared) => Ok(FeedPath::Mapped),
        (FeedChoice::Auto | FeedChoice::Staged, DeviceMemory::Own | DeviceMemory::Opaque) => {
            Ok(FeedPath::Staged)
        }
        // A GPU with its own memory can read the other too: slowly, but it can be asked for.
        (FeedChoice::Mapped, DeviceMemory::Shared | DeviceMemory::Own) => Ok(FeedPath::Mapped),
        (FeedChoice::Staged, DeviceMemory::Shared) => Ok(FeedPath::Staged),
        (FeedChoice::Mapped, DeviceMemory::Opaque) => refuse("this device's memory cannot be mapped here"),
        (FeedChoice::Mapped | FeedChoice::Staged, DeviceMemory::Process) => {
            refuse("the cpu device takes the decoders' buffer as it is: auto or view")
        }
        (FeedChoice::View, _) => refuse("only the cpu device takes the decoders' buffer as it is"),
    }
}

/// The form in which the pipeline should write pixels.
pub(crate) fn layout(path: FeedPath) -> PixelLayout {
    match path {
        FeedPath::View => PixelLayout::F32Nchw,
        FeedPath::Mapped | FeedPath::Staged => PixelLayout::U8Nhwc,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_follows_from_the_memory_unless_it_is_asked_for() {
        use DeviceMemory::{Opaque, Own, Process, Shared};
        let auto = |memory| decide(FeedChoice::Auto, memory).unwrap();
        assert_eq!(
            [Process, Shared, Own, Opaque].map(auto),
            [FeedPath::View, FeedPath::Mapped, FeedPath::Staged, FeedPath::Staged]
        );
        assert_eq!(decide(FeedChoice::Staged, Shared).unwrap(), FeedPath::Staged);
        assert_eq!(decide(FeedChoice::Mapped, Own).unwrap(), FeedPath::Mapped);
        for (choice, memory) in [
            (FeedChoice::View, Shared),
            (FeedChoice::Mapped, Process),
            (FeedChoice::Staged, Process),
            (FeedChoice::Mapped, Opaque),
        ] {
            let error = decide(choice, memory).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--feed {choice}: ")), "{error}");
        }
    }
}
