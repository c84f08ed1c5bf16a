//! Buffers that go round: a dropped buffer waits in its pool to be used again.
//!
//! Who consumes minibatches may lend the memory for them ([`Lender`]), so that samples are written at once to where
//! a device reads them.

use std::any::Any;
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

pub use crate::parts::Lent;

/// Lends memory for minibatches.
pub trait Lender<T>: fmt::Debug + Send + Sync {
    /// Memory for `length` elements; `None` where there is none just now: the pipeline then takes its own. It is
    /// asked while other threads wait for its answer, so it must not wait for one of them.
    fn lend(&self, length: usize) -> Option<Box<dyn Lent<T>>>;
}

/// Buffers of one length.
#[derive(Clone, Debug)]
pub(crate) struct Pool<T> {
    length: usize,
    /// More than so many are not kept.
    kept_max: usize,
    lender: Option<Arc<dyn Lender<T>>>,
    free: Arc<Mutex<Vec<Vec<T>>>>,
}

impl<T: Clone + Default> Pool<T> {
    pub(crate) fn new(length: usize, kept_max: usize) -> Self {
        Self { length, kept_max, lender: None, free: Arc::default() }
    }

    /// A pool whose buffers are lent by somebody else as far as there are any.
    pub(crate) fn lent(length: usize, kept_max: usize, lender: Option<Arc<dyn Lender<T>>>) -> Self {
        Self { lender, ..Self::new(length, kept_max) }
    }

    /// A buffer of the pool's length. What it holds is left from its last use.
    pub(crate) fn take(&self) -> Pooled<T> {
        let lent = self.lender.as_ref().and_then(|lender| lender.lend(self.length));
        if let Some(lent) = lent.filter(|lent| lent.elements().len() >= self.length) {
            return Pooled { memory: Memory::Lent(lent), length: self.length, pool: None };
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
    Lent(Box<dyn Lent<T>>),
}

/// A buffer of a pool, seen as its first elements.
#[derive(Debug)]
pub struct Pooled<T> {
    memory: Memory<T>,
    length: usize,
    pool: Option<Pool<T>>,
}

impl<T> Pooled<T> {
    /// Shows only the first `length` elements from now on.
    pub(crate) fn shorten(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// The elements as a vector of their own, without a copy; the buffer does not go back to the pool.
    /// Lent memory is copied and goes back.
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
            Memory::Lent(lent) => lent.elements()[..self.length].to_vec(),
        }
    }

    /// The memory as its lender knows it; the buffer itself where nobody lent it.
    pub fn into_lent(mut self) -> Result<Box<dyn Any + Send>, Self> {
        match mem::replace(&mut self.memory, Memory::Own(Vec::new())) {
            Memory::Lent(lent) => Ok(lent.into_any()),
            own @ Memory::Own(_) => {
                self.memory = own;
                Err(self)
            }
        }
    }
}

/// A buffer that belongs to no pool.
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
            Memory::Lent(lent) => &lent.elements()[..self.length],
        }
    }
}

impl<T> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.memory {
            Memory::Own(data) => &mut data[..self.length],
            Memory::Lent(lent) => &mut lent.elements_mut()[..self.length],
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
    fn lent_memory_goes_to_its_lender_and_own_memory_takes_its_place() {
        let lender = Arc::new(crate::parts::tests::OneBlock::new(8));
        let pool = Pool::<u8>::lent(8, 1, Some(lender.clone()));
        let mut lent = pool.take();
        lent[7] = 5;
        // The only block is out.
        let own = pool.take();
        assert!(own.into_lent().is_err());
        lent.shorten(3);
        assert_eq!(lent.len(), 3);
        let block = lent.into_lent().unwrap();
        assert!(block.downcast_ref::<crate::parts::tests::Block>().is_some());
        drop(block);
        // It went back, with what was written to it.
        assert_eq!(pool.take().into_vec(), [0, 0, 0, 0, 0, 0, 0, 5]);
        drop(pool.take());
        assert!(pool.take().into_lent().is_ok());
    }
}
