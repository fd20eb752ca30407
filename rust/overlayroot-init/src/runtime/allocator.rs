// SPDX-License-Identifier: MIT
//! A bump allocator that frees nothing: the init lives for a second and gives its memory back by becoming
//! another program. Without the code that frees, the init is a quarter smaller.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;

use rustix::mm::{mmap_anonymous, MapFlags, ProtFlags};

/// Memory is taken from the kernel in pieces of this size, bytes.
const PIECE: usize = 256 << 10;

struct Bump {
    /// Next free address and end of the current piece.
    state: UnsafeCell<(usize, usize)>,
}

// SAFETY: the init has one thread.
unsafe impl Sync for Bump {}

#[global_allocator]
static HEAP: Bump = Bump {
    state: UnsafeCell::new((0, 0)),
};

// SAFETY: blocks never overlap: `next` only grows, but for the last block, whose owner gives it back.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, and no reference outlives this call.
        let (next, end) = unsafe { &mut *self.state.get() };
        let start = (*next + layout.align() - 1) & !(layout.align() - 1);
        if *next != 0 && end.saturating_sub(start) >= layout.size() {
            *next = start + layout.size();
            return start as *mut u8;
        }
        let size = (layout.size() + layout.align())
            .max(PIECE)
            .next_multiple_of(4096);
        // SAFETY: new anonymous memory at an address of the kernel's choice.
        let piece = unsafe {
            mmap_anonymous(
                null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        let Ok(piece) = piece else { return null_mut() };
        let start = (piece as usize + layout.align() - 1) & !(layout.align() - 1);
        *next = start + layout.size();
        *end = piece as usize + size;
        start as *mut u8
    }

    /// Keeps the block: most of the init's code would be about giving a few KiB back.
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        {
            // SAFETY: as in alloc.
            let (next, end) = unsafe { &mut *self.state.get() };
            // The last block grows and shrinks in place.
            if block as usize + layout.size() == *next && size <= *end - block as usize {
                *next = block as usize + size;
                return block;
            }
        }
        // SAFETY: the caller vouches for size and align; the blocks do not overlap.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                core::ptr::copy_nonoverlapping(block, new, layout.size().min(size));
            }
            new
        }
    }
}
