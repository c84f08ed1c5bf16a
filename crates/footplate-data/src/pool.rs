//! Buffers that go round: a dropped buffer waits in its pool to be used again.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers of one length.
#[derive(Clone, Debug)]
pub(crate) struct Pool<T> {
    length: usize,
    /// More than so many are not kept.
    kept_max: usize,
    free: Arc<Mutex<Vec<Vec<T>>>>,
}

impl<T: Clone + Default> Pool<T> {
    pub(crate) fn new(length: usize, kept_max: usize) -> Self {
        Self { length, kept_max, free: Arc::default() }
    }

    /// A buffer of the pool's length. What it holds is left from its last use.
    pub(crate) fn take(&self) -> Pooled<T> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let data = free.unwrap_or_else(|| vec![T::default(); self.length]);
        Pooled { data, length: self.length, pool: Some(self.clone()) }
    }
}

/// A buffer of a pool, seen as its first elements.
#[derive(Debug)]
pub struct Pooled<T> {
    data: Vec<T>,
    length: usize,
    pool: Option<Pool<T>>,
}

impl<T> Pooled<T> {
    /// Shows only the first `length` elements from now on.
    pub(crate) fn shorten(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// The elements as a vector of their own, without a copy; the buffer does not go back to the pool.
    pub fn into_vec(mut self) -> Vec<T> {
        self.pool = None;
        let mut data = std::mem::take(&mut self.data);
        data.truncate(self.length);
        data
    }
}

/// A buffer that belongs to no pool.
impl<T> From<Vec<T>> for Pooled<T> {
    fn from(data: Vec<T>) -> Self {
        Self { length: data.len(), data, pool: None }
    }
}

impl<T> Deref for Pooled<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.data[..self.length]
    }
}

impl<T> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[..self.length]
    }
}

impl<T> Drop for Pooled<T> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            let mut free = pool.free.lock().unwrap_or_else(PoisonError::into_inner);
            if free.len() < pool.kept_max {
                free.push(std::mem::take(&mut self.data));
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
}
