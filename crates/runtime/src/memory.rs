//! Aligned bytes.

use lowbit_ir::{Error, Result};
use lowbit_kernels::SLACK;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Every buffer starts at a multiple of this many bytes: a cache line, and the widest vector.
pub const ALIGN: usize = 64;

/// Zeroed bytes, aligned to [`ALIGN`], readable [`SLACK`] bytes beyond their length.
#[derive(Debug)]
pub struct Aligned {
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: `Aligned` owns its bytes like a `Box<[u8]>`; shared access is read-only unless a caller argues otherwise.
unsafe impl Send for Aligned {}
// SAFETY: as above.
unsafe impl Sync for Aligned {}

impl Aligned {
    /// `len` zero bytes. An error, not an abort, if the machine has not got them.
    pub fn zeroed(len: usize) -> Result<Self> {
        let layout = Self::layout(len)?;
        // SAFETY: the layout's size is at least SLACK, so not zero.
        let ptr = NonNull::new(unsafe { alloc_zeroed(layout) })
            .ok_or_else(|| Error::new(format!("expected {len} bytes of memory, found less")))?;
        Ok(Aligned { ptr, len })
    }

    /// A copy of these bytes.
    pub fn copy_of(bytes: &[u8]) -> Result<Self> {
        let mut new = Self::zeroed(bytes.len())?;
        new.as_mut_slice().copy_from_slice(bytes);
        Ok(new)
    }

    fn layout(len: usize) -> Result<Layout> {
        len.checked_add(SLACK)
            .and_then(|n| Layout::from_size_align(n, ALIGN).ok())
            .ok_or_else(|| Error::new(format!("expected a buffer that fits the address space, found {len} bytes")))
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
        if let Ok(layout) = Self::layout(self.len) {
            // SAFETY: allocated in `zeroed` with the same layout.
            unsafe { dealloc(self.ptr.as_ptr(), layout) }
        }
    }
}
