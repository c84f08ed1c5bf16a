//! Recycled buffers: a buffer that is dropped goes back to its pool and is used again.

use std::any::Any;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use crate::external_buffer::{BufferProvider, ExternalBuffer};

/// Buffers of one length.
#[derive(Clone, Debug)]
pub(crate) struct Pool<T> {
    length: usize,
    /// Free buffers that are kept at most.
    kept_max: usize,
    provider: Option<Arc<dyn BufferProvider<T>>>,
    free: Arc<Mutex<Vec<Vec<T>>>>,
}

impl<T: Clone + Default> Pool<T> {
    pub(crate) fn new(length: usize, kept_max: usize) -> Self {
        Self { length, kept_max, provider: None, free: Arc::default() }
    }

    /// A pool that asks `provider` first, and allocates only where that has no buffer.
    pub(crate) fn with_provider(
        length: usize,
        kept_max: usize,
        provider: Option<Arc<dyn BufferProvider<T>>>,
    ) -> Self {
        Self { provider, ..Self::new(length, kept_max) }
    }

    /// A buffer of the pool's length. What it holds is left from its last use.
    pub(crate) fn take(&self) -> Pooled<T> {
        let external = self.provider.as_ref().and_then(|provider| provider.provide(self.length));
        if let Some(external) = external.filter(|external| external.elements().len() >= self.length) {
            return Pooled { memory: Memory::External(external), length: self.length, pool: None };
        }
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let data = free.unwrap_or_else(|| vec![T::default(); self.length]);
        Pooled { memory: Memory::Own(data), length: self.length, pool: Some(self.clone()) }
    }
}

/// Where a buffer's elements are.
#[derive(Debug)]
enum Memory<T> {
    Own(Vec<T>),
    External(Box<dyn ExternalBuffer<T>>),
}

/// A buffer that goes back to its pool when it is dropped. It dereferences to a slice of its first elements.
#[derive(Debug)]
pub struct Pooled<T> {
    memory: Memory<T>,
    length: usize,
    pool: Option<Pool<T>>,
}

impl<T> Pooled<T> {
    /// Dereferences to at most the first `length` elements from now on.
    pub(crate) fn shorten(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// The elements as a vector, without a copy; the buffer does not go back to the pool.
    /// External memory is copied to a vector and goes back to its provider.
    pub fn into_vec(mut self) -> Vec<T>
    where
        T: Clone,
    {
        self.pool = None;
        match mem::replace(&mut self.memory, Memory::Own(Vec::new())) {
            Memory::Own(mut data) => {
                data.truncate(self.length);
                data
            }
            Memory::External(external) => external.elements()[..self.length].to_vec(),
        }
    }

    /// The memory as its provider's own type.
    ///
    /// # Errors
    /// The buffer itself, unchanged, if the pipeline allocated it.
    pub fn into_external(mut self) -> Result<Box<dyn Any + Send>, Self> {
        match mem::replace(&mut self.memory, Memory::Own(Vec::new())) {
            Memory::External(external) => Ok(external.into_any()),
            own @ Memory::Own(_) => {
                self.memory = own;
                Err(self)
            }
        }
    }
}

/// A buffer that belongs to no pool; dropping it frees it.
impl<T> From<Vec<T>> for Pooled<T> {
    fn from(data: Vec<T>) -> Self {
        Self { length: data.len(), memory: Memory::Own(data), pool: None }
    }
}

impl<T> Deref for Pooled<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.memory {
            Memory::Own(data) => &data[..self.length],
            Memory::External(external) => &external.elements()[..self.length],
        }
    }
}

impl<T> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.memory {
            Memory::Own(data) => &mut data[..self.length],
            Memory::External(external) => &mut external.elements_mut()[..self.length],
        }
    }
}

impl<T> Drop for Pooled<T> {
    fn drop(&mut self) {
        if let (Some(pool), Memory::Own(data)) = (self.pool.take(), &mut self.memory) {
            let mut free = pool.free.lock().unwrap_or_else(PoisonError::into_inner);
            if free.len() < pool.kept_max {
                free.push(mem::take(data));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_buffer::tests::{Block, OneBlock};

    #[test]
    fn a_dropped_buffer_is_used_again() {
        let pool = Pool::<u8>::new(8, 1);
        let mut buffer = pool.take();
        buffer[7] = 5;
        buffer.shorten(3);
        assert_eq!(buffer.len(), 3);
        drop(buffer);
        let again = pool.take();
        assert_eq!((again.len(), again[7]), (8, 5));
        assert_eq!(pool.take().into_vec(), [0; 8]);
    }

    #[test]
    fn external_memory_goes_back_to_its_provider_and_own_memory_takes_its_place() {
        let provider = Arc::new(OneBlock::new(8));
        let pool = Pool::<u8>::with_provider(8, 1, Some(provider.clone()));
        let mut external = pool.take();
        external[7] = 5;
        // The only block is in use.
        let own = pool.take();
        assert!(own.into_external().is_err());
        external.shorten(3);
        assert_eq!(external.len(), 3);
        let block = external.into_external().unwrap();
        assert!(block.downcast_ref::<Block>().is_some());
        drop(block);
        // It went back, with what was written to it.
        assert_eq!(pool.take().into_vec(), [0, 0, 0, 0, 0, 0, 0, 5]);
        drop(pool.take());
        assert!(pool.take().into_external().is_ok());
    }

    #[test]
    fn a_provider_with_too_little_memory_is_not_used() {
        let pool = Pool::<u8>::with_provider(9, 1, Some(Arc::new(OneBlock::new(8))));
        let buffer = pool.take();
        assert_eq!(buffer.len(), 9);
        assert!(buffer.into_external().is_err());
    }

    #[test]
    fn no_more_buffers_are_kept_than_the_bound() {
        let pool = Pool::<u16>::new(4, 2);
        let taken: Vec<_> = (1..=5)
            .map(|mark| {
                let mut buffer = pool.take();
                buffer.fill(mark);
                buffer
            })
            .collect();
        drop(taken);
        // The first two that were dropped wait; the others were freed, and new buffers are zero.
        let marks: Vec<u16> = [(); 3].map(|()| pool.take()).iter().map(|buffer| buffer[0]).collect();
        assert_eq!(marks, [2, 1, 0]);
    }

    #[test]
    fn a_buffer_made_of_a_vector_returns_to_nobody() {
        let mut buffer = Pooled::from(vec![1, 2, 3]);
        buffer.shorten(2);
        assert_eq!(buffer.into_external().unwrap_err().into_vec(), [1, 2]);
    }
}
