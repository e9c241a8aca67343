//! Aligned bytes.

use lowbit_ir::{Error, Result};
use lowbit_kernels::SLACK;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Every buffer starts at a multiple of this many bytes: a cache line, and the widest vector.
pub const ALIGN: usize = 64;

/// Bytes aligned to [`ALIGN`], readable [`SLACK`] bytes beyond their length.
#[derive(Debug)]
pub struct Aligned {
    /// The first of them.
    ptr: NonNull<u8>,
    len: usize,
    /// What was allocated begins so many bytes earlier: an allocator that is asked to align writes all zeros itself, and
    /// one that is not takes pages from the system, which are zero and cost nothing until they are written.
    before: usize,
    allocated: usize,
}

// SAFETY: `Aligned` owns its bytes like a `Box<[u8]>`; shared access is read-only unless a caller argues otherwise.
unsafe impl Send for Aligned {}
// SAFETY: as above.
unsafe impl Sync for Aligned {}

impl Aligned {
    /// `len` zero bytes. An error, not an abort, if the machine has not got them.
    pub fn zeroed(len: usize) -> Result<Self> {
        let room = len.checked_add(SLACK + ALIGN).and_then(|n| Some((n, Layout::from_size_align(n, 1).ok()?)));
        let (allocated, layout) = room
            .ok_or_else(|| Error::new(format!("expected a buffer that fits the address space, found {len} bytes")))?;
        // SAFETY: the layout's size is at least SLACK, so not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })
            .ok_or_else(|| Error::new(format!("expected {len} bytes of memory, found less")))?;
        let before = base.align_offset(ALIGN);
        // SAFETY: less than ALIGN bytes, of which there are that many more than are asked for.
        Ok(Aligned { ptr: unsafe { base.add(before) }, len, before, allocated })
    }

    /// Number of bytes, slack not counted.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first byte.
    pub fn as_ptr(&self) -> *const u8 {
        self.ptr.as_ptr()
    }

    /// The first byte, for writing.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `ptr` owns `len` initialized (zeroed) bytes.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }

    /// The bytes, for writing.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        if let Ok(layout) = Layout::from_size_align(self.allocated, 1) {
            // SAFETY: allocated in `zeroed` with the same layout.
            unsafe { dealloc(self.ptr.as_ptr().sub(self.before), layout) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_aligned_wherever_they_were() {
        for len in [0, 1, 63, 64, 1000, 1 << 20] {
            let zeroed = Aligned::zeroed(len).unwrap();
            assert_eq!(zeroed.as_slice(), vec![0; len]);
            assert_eq!(zeroed.as_ptr().align_offset(ALIGN), 0);
        }
        assert!(Aligned::zeroed(usize::MAX).is_err() && Aligned::zeroed(usize::MAX / 2).is_err());
    }
}
