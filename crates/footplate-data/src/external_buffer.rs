//! Memory for minibatches that somebody else owns, such as a buffer that a GPU can read.
#![expect(unsafe_code, reason = "an unsafe trait: the pipeline relies on where its memory lies")]

use std::any::Any;
use std::fmt;

/// Gives the pipeline memory to write minibatches to, so that samples are written at once to where a device reads
/// them.
pub trait BufferProvider<T>: fmt::Debug + Send + Sync {
    /// Memory for at least `length` elements. `None` if none is free at the moment: the pipeline then allocates a
    /// buffer of its own. Worker threads wait while this is called, so it must not wait for one of them.
    fn provide(&self, length: usize) -> Option<Box<dyn ExternalBuffer<T>>>;
}

/// Memory for one minibatch from a [`BufferProvider`]. Dropping it gives the memory back.
///
/// # Safety
///
/// [`elements`](Self::elements) and [`elements_mut`](Self::elements_mut) return the same memory in each call, wherever
/// the value has been moved in between. The memory stays valid and nobody else accesses it until the value is dropped
/// or [taken back](Self::into_any): several threads of the pipeline write to it through a pointer.
pub unsafe trait ExternalBuffer<T>: fmt::Debug + Send {
    /// The memory, to be read.
    fn elements(&self) -> &[T];
    /// The memory, to be written.
    fn elements_mut(&mut self) -> &mut [T];
    /// The value as the provider's own type, by [downcast](Box::downcast).
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}
