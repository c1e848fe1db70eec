//! How long a target may take and how much memory, by the size of its input. libFuzzer's own limits are for what hangs
//! or fills the machine; a decoder that allocates a thousand times what it reads is found here long before.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// CPU time, not wall time: fuzzing goes on beside other work. The sanitizer makes all of it some three times as slow.
const TIME: Duration = Duration::from_secs(2);
/// Memory at the worst moment: so much, and so much for each byte of the input.
const MEMORY: usize = 4 << 20;
const MEMORY_PER_BYTE: usize = 1 << 10;

/// Runs `target`; panics if it took more time, or had more memory at once, than an input of `len` bytes may cost.
#[allow(dead_code, reason = "a whole replica needs the other")]
pub fn within(len: usize, target: impl FnOnce()) {
    within_and(MEMORY, len, target);
}

/// The same for a target that needs so many bytes whatever its input is.
pub fn within_and(memory: usize, len: usize, target: impl FnOnce()) {
    let begun = cpu_time();
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    target();
    let took = cpu_time() - begun;
    let most = PEAK.load(Relaxed).saturating_sub(before);
    assert!(took <= TIME, "{len} bytes took {took:?}");
    let allowed = memory + len * MEMORY_PER_BYTE;
    assert!(most <= allowed, "{len} bytes took {most} bytes of memory, more than {allowed}");
}

fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to `time` and to nothing else.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(failed, 0, "the thread has a clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What is allocated now, and the most that was since `PEAK` was last set.
static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(HELD.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}
