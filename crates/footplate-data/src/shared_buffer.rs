//! One buffer that several threads fill at once: each gets disjoint slices of it.
#![expect(
    unsafe_code,
    reason = "threads write to disjoint slices of one buffer, which is returned without a copy"
)]

use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::pool::Pooled;

/// A buffer that is split into slices from its beginning to its end.
pub(crate) struct SharedBuffer<T> {
    /// Never read or written through while a [`BufferSlice`] may be alive; the slices use `start`.
    buffer: Pooled<T>,
    start: *mut T,
    length: usize,
    /// Elements before this one belong to a slice.
    split_at: AtomicUsize,
}

// SAFETY: the pointer is to the memory of `buffer` (a vector's heap block, or what `ExternalBuffer` promises to leave
// alone), which `SharedBuffer` owns and never moves, grows or frees while it is shared; elements are reached through
// disjoint `BufferSlice`s only. So sharing a `SharedBuffer` shares no `T`.
unsafe impl<T: Send> Send for SharedBuffer<T> {}
// SAFETY: as above; a `&SharedBuffer` can only split off a slice that nobody else has, and print its length.
unsafe impl<T: Send> Sync for SharedBuffer<T> {}

impl<T> SharedBuffer<T> {
    pub(crate) fn new(mut buffer: Pooled<T>) -> Arc<Self> {
        let (start, length) = (buffer.as_mut_ptr(), buffer.len());
        Arc::new(Self { buffer, start, length, split_at: AtomicUsize::new(0) })
    }

    /// The next `count` elements (fewer at the end), for the caller alone.
    pub(crate) fn split_next(self: &Arc<Self>, count: usize) -> BufferSlice<T> {
        let end = |from: usize| from + count.min(self.length - from);
        let from = self.split_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |from| Some(end(from)));
        // The closure never refuses.
        let from = from.unwrap_or_else(|from| from);
        BufferSlice { owner: self.clone(), range: from..end(from) }
    }

    /// The buffer with all that was written to it; `None` while a slice of it is alive.
    pub(crate) fn take_back(self: Arc<Self>) -> Option<Pooled<T>> {
        Arc::into_inner(self).map(|shared| shared.buffer)
    }
}

/// Without the elements: other threads may be writing to them.
impl<T> fmt::Debug for SharedBuffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBuffer")
            .field("length", &self.length)
            .field("split_at", &self.split_at.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// Part of a [`SharedBuffer`], for one thread. It keeps the buffer alive.
pub(crate) struct BufferSlice<T> {
    owner: Arc<SharedBuffer<T>>,
    range: Range<usize>,
}

/// Only where it is: its owner's other elements belong to other threads.
impl<T> fmt::Debug for BufferSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferSlice").field("range", &self.range).finish_non_exhaustive()
    }
}

impl<T> Deref for BufferSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `split_next` gives each element to one slice only, so `range` is within the buffer and no other
        // slice overlaps it; `owner` keeps the buffer alive and unmoved; its elements are initialised (a `Vec`'s).
        unsafe { std::slice::from_raw_parts(self.owner.start.add(self.range.start), self.range.len()) }
    }
}

impl<T> DerefMut for BufferSlice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` is the only way to this slice.
        unsafe { std::slice::from_raw_parts_mut(self.owner.start.add(self.range.start), self.range.len()) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::any::Any;
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;
    use crate::external_buffer::{BufferProvider, ExternalBuffer};
    use crate::pool::Pool;

    /// Provides the one block that it has.
    #[derive(Debug)]
    pub(crate) struct OneBlock(Arc<Mutex<Option<Vec<u8>>>>);

    impl OneBlock {
        pub(crate) fn new(length: usize) -> Self {
            Self(Arc::new(Mutex::new(Some(vec![0; length]))))
        }
    }

    #[derive(Debug)]
    pub(crate) struct Block(Vec<u8>, Arc<Mutex<Option<Vec<u8>>>>);

    // SAFETY: a vector's heap block, which only `drop` moves elsewhere.
    unsafe impl ExternalBuffer<u8> for Block {
        fn elements(&self) -> &[u8] {
            &self.0
        }

        fn elements_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }

        fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
            self
        }
    }

    impl Drop for Block {
        fn drop(&mut self) {
            *self.1.lock().unwrap() = Some(std::mem::take(&mut self.0));
        }
    }

    impl BufferProvider<u8> for OneBlock {
        fn provide(&self, _length: usize) -> Option<Box<dyn ExternalBuffer<u8>>> {
            let block = self.0.lock().unwrap().take()?;
            Some(Box::new(Block(block, self.0.clone())))
        }
    }

    #[test]
    fn external_memory_is_filled_by_threads_too() {
        let pool = Pool::<u8>::with_provider(4, 1, Some(Arc::new(OneBlock::new(4))));
        let shared = SharedBuffer::new(pool.take());
        let (mut first, mut second) = (shared.split_next(1), shared.split_next(3));
        std::thread::scope(|scope| {
            scope.spawn(move || first.fill(1));
            scope.spawn(move || second.fill(2));
        });
        let whole = shared.take_back().unwrap();
        assert_eq!(whole[..], [1, 2, 2, 2]);
        assert!(whole.into_external().is_ok());
    }

    #[test]
    fn threads_fill_slices_and_the_whole_comes_back() {
        let shared = SharedBuffer::new(Pool::<u32>::new(100, 1).take());
        let threads: Vec<_> = (0..5)
            .map(|_| {
                let shared = shared.clone();
                std::thread::spawn(move || {
                    for _ in 0..3 {
                        let mut slice = shared.split_next(7);
                        let first = slice.range.start as u32;
                        slice.iter_mut().enumerate().for_each(|(i, value)| *value = first + i as u32);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // 15 slices of 7 are more than 100: the last ones are shorter or empty.
        let whole = shared.take_back().unwrap();
        assert_eq!(whole[..], (0..100).collect::<Vec<u32>>());
    }

    #[test]
    fn a_buffer_with_a_slice_alive_does_not_come_back() {
        let shared = SharedBuffer::new(Pool::<u8>::new(4, 1).take());
        let slice = shared.split_next(4);
        assert!(shared.clone().split_next(1).is_empty());
        assert!(shared.take_back().is_none());
        assert_eq!(slice[..], [0; 4]);
    }

    /// Printing reads none of the elements, which another thread may be writing (Miri refuses it otherwise).
    #[test]
    fn a_buffer_is_printed_while_another_thread_writes_to_it() {
        let shared = SharedBuffer::new(Pool::<u8>::new(64, 1).take());
        let mut slice = shared.split_next(48);
        let name = format!("{slice:?}");
        std::thread::scope(|scope| {
            scope.spawn(move || slice.fill(7));
            let text = format!("{shared:?}");
            assert_eq!(text, "SharedBuffer { length: 64, split_at: 48, .. }");
        });
        assert_eq!(name, "BufferSlice { range: 0..48, .. }");
    }

    proptest! {
        /// Whatever counts are asked for, the slices lie one after the other and cover each element once.
        #[test]
        fn slices_are_disjoint_and_in_order(length in 0usize..200, counts in prop::collection::vec(0usize..60, 0..20)) {
            let shared = SharedBuffer::new(Pool::<u8>::new(length, 1).take());
            let slices: Vec<_> = counts.iter().map(|count| shared.split_next(*count)).collect();
            let mut end = 0;
            for (slice, count) in slices.iter().zip(&counts) {
                prop_assert_eq!(slice.range.clone(), end..end + (*count).min(length - end));
                end = slice.range.end;
            }
            prop_assert_eq!(end, counts.iter().sum::<usize>().min(length));
            drop(slices);
            prop_assert_eq!(shared.take_back().map(|whole| whole.len()), Some(length));
        }
    }
}
