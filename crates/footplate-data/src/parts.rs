//! One buffer that several threads fill at once, each its own runs of it. This is the crate's one place of
//! `unsafe` besides the dispatch to SIMD kernels.
#![expect(unsafe_code, reason = "a buffer is lent out in disjoint runs, and taken back whole without a copy")]

use std::any::Any;
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::pool::Pooled;

/// Memory that somebody else lends for a minibatch. It goes back when it is dropped.
///
/// # Safety
///
/// [`elements`](Self::elements) and [`elements_mut`](Self::elements_mut) give the same memory in each call, wherever
/// the value has been moved in between. It stays there and nobody else touches it until the value is dropped or
/// [taken back](Self::into_any): the pipeline writes to it through a pointer from several threads.
pub unsafe trait Lent<T>: fmt::Debug + Send {
    /// What is in it.
    fn elements(&self) -> &[T];
    /// The same, to be written.
    fn elements_mut(&mut self) -> &mut [T];
    /// The value itself, for its lender.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

/// A buffer that is lent out from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Parts<T> {
    /// Never read or written through while a [`Part`] may be alive; the parts use `start`.
    buffer: Pooled<T>,
    start: *mut T,
    length: usize,
    /// Elements before this were lent out.
    lent: AtomicUsize,
}

// SAFETY: the pointer is to the memory of `buffer` (a vector's heap block, or what `Lent` promises to leave alone),
// which `Parts` owns and never moves, grows or frees while it is shared; elements are reached through disjoint `Part`s only. So sharing `Parts` shares no `T`.
unsafe impl<T: Send> Send for Parts<T> {}
// SAFETY: as above; the only thing that a `&Parts` can do is to lend out a run that nobody else has.
unsafe impl<T: Send> Sync for Parts<T> {}

impl<T> Parts<T> {
    pub(crate) fn new(mut buffer: Pooled<T>) -> Arc<Self> {
        let (start, length) = (buffer.as_mut_ptr(), buffer.len());
        Arc::new(Self { buffer, start, length, lent: AtomicUsize::new(0) })
    }

    /// The next `count` elements (fewer at the end): they are nobody else's.
    pub(crate) fn lend(self: &Arc<Self>, count: usize) -> Part<T> {
        let take = |lent: usize| lent + count.min(self.length - lent);
        let from = self.lent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |lent| Some(take(lent)));
        // The closure never refuses.
        let from = from.unwrap_or_else(|lent| lent);
        Part { owner: self.clone(), range: from..take(from) }
    }

    /// The buffer with all that was written to it; `None` while parts of it are lent out.
    pub(crate) fn take_back(self: Arc<Self>) -> Option<Pooled<T>> {
        Arc::into_inner(self).map(|parts| parts.buffer)
    }
}

/// A run of a buffer, for one thread. It keeps the buffer alive.
#[derive(Debug)]
pub(crate) struct Part<T> {
    owner: Arc<Parts<T>>,
    range: Range<usize>,
}

impl<T> Deref for Part<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `lend` gives each element out once, so `range` is within the buffer and no other part
        // overlaps it; `owner` keeps the buffer alive and unmoved; its elements are initialised (a `Vec`'s).
        unsafe { std::slice::from_raw_parts(self.owner.start.add(self.range.start), self.range.len()) }
    }
}

impl<T> DerefMut for Part<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` is the only way to this part.
        unsafe { std::slice::from_raw_parts_mut(self.owner.start.add(self.range.start), self.range.len()) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::pool::{Lender, Pool};

    /// Lends the one block that it has.
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
    unsafe impl Lent<u8> for Block {
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

    impl Lender<u8> for OneBlock {
        fn lend(&self, _length: usize) -> Option<Box<dyn Lent<u8>>> {
            let block = self.0.lock().unwrap().take()?;
            Some(Box::new(Block(block, self.0.clone())))
        }
    }

    #[test]
    fn lent_memory_is_filled_by_threads_too() {
        let pool = Pool::<u8>::lent(4, 1, Some(Arc::new(OneBlock::new(4))));
        let parts = Parts::new(pool.take());
        let (mut first, mut second) = (parts.lend(1), parts.lend(3));
        std::thread::scope(|scope| {
            scope.spawn(move || first.fill(1));
            scope.spawn(move || second.fill(2));
        });
        let whole = parts.take_back().unwrap();
        assert_eq!(whole[..], [1, 2, 2, 2]);
        assert!(whole.into_lent().is_ok());
    }

    #[test]
    fn threads_fill_runs_and_the_whole_comes_back() {
        let parts = Parts::new(Pool::<u32>::new(100, 1).take());
        let threads: Vec<_> = (0..5)
            .map(|_| {
                let parts = parts.clone();
                std::thread::spawn(move || {
                    for _ in 0..3 {
                        let mut part = parts.lend(7);
                        let first = part.range.start as u32;
                        part.iter_mut().enumerate().for_each(|(i, value)| *value = first + i as u32);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // 15 runs of 7 are more than 100: the last ones are shorter or empty.
        let whole = parts.take_back().unwrap();
        assert_eq!(whole[..], (0..100).collect::<Vec<u32>>());
    }

    #[test]
    fn a_buffer_with_a_part_out_does_not_come_back() {
        let parts = Parts::new(Pool::<u8>::new(4, 1).take());
        let part = parts.lend(4);
        assert!(parts.clone().lend(1).is_empty());
        assert!(parts.take_back().is_none());
        assert_eq!(part[..], [0; 4]);
    }
}
