//! The program's allocator: the system's, with a count of what is allocated, for the memory plan.
#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use footplate_train::memory::HeapMeter;

/// The count is kept with relaxed atomics: two additions for an allocation.
struct Counting;

static LIVE: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn grew(bytes: usize) {
    let live = LIVE.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
    // Reading first keeps the common case free of a second write.
    if live > PEAK.load(Ordering::Relaxed) {
        PEAK.fetch_max(live, Ordering::Relaxed);
    }
}

fn shrank(bytes: usize) {
    LIVE.fetch_sub(bytes as u64, Ordering::Relaxed);
}

// SAFETY: each call goes to the system's allocator unchanged; the counters do not touch the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        let pointer = unsafe { System.alloc(layout) };
        if !pointer.is_null() {
            grew(layout.size());
        }
        pointer
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        if !pointer.is_null() {
            grew(layout.size());
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) };
        shrank(layout.size());
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `realloc`.
        let moved = unsafe { System.realloc(pointer, layout, new_size) };
        if !moved.is_null() {
            grew(new_size);
            shrank(layout.size());
        }
        moved
    }
}

/// The count of this process's allocator.
pub(crate) struct Heap;

impl HeapMeter for Heap {
    fn live_bytes(&self) -> u64 {
        LIVE.load(Ordering::Relaxed)
    }

    fn peak_bytes(&self) -> u64 {
        PEAK.load(Ordering::Relaxed)
    }

    fn reset_peak(&self) {
        PEAK.store(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_allocation_is_counted_as_long_as_it_lives() {
        Heap.reset_peak();
        let before = Heap.live_bytes();
        // Other tests allocate and free beside this one: far less than this block. Zeros cost no memory.
        let block = std::hint::black_box(vec![0u8; 1 << 30]);
        assert!(Heap.live_bytes() >= before + (1 << 29));
        // Another test may begin a peak of its own: only while the block lives it is sure to be in it.
        assert!(Heap.peak_bytes() >= before + (1 << 29));
        drop(block);
        assert!(Heap.live_bytes() < before + (1 << 29));
    }
}
