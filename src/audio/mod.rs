//! Audio itself: G.711, silence, test tones, and libopus where it is linked.

pub mod g711;
#[cfg(feature = "driver")]
pub mod opus;
mod silence;
mod tone;

pub use silence::{mute, silence};
pub use tone::Tone;
