// SPDX-License-Identifier: MIT
//! The memory functions that compilers call. Plain loops over words, then over bytes: the volatile accesses keep the
//! compiler from turning a loop into a call of the very function it is in.

use core::ptr::{read_volatile, write_volatile};

/// A word at any address: these processors read and write it in one go wherever it is.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Word(usize);

const WORD: usize = core::mem::size_of::<Word>();

/// # Safety
/// As in C.
#[no_mangle]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    let mut at = 0;
    // SAFETY: the caller vouches for both ranges.
    unsafe {
        while count - at >= WORD {
            let word = read_volatile(from.add(at).cast::<Word>());
            write_volatile(to.add(at).cast::<Word>(), word);
            at += WORD;
        }
        while at < count {
            write_volatile(to.add(at), read_volatile(from.add(at)));
            at += 1;
        }
    }
    to
}

/// # Safety
/// As in C.
#[no_mangle]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= count {
        // SAFETY: forwards is safe: the target does not start inside the source.
        return unsafe { memcpy(to, from, count) };
    }
    let mut at = count;
    while at > 0 {
        at -= 1;
        // SAFETY: the caller vouches for both ranges.
        unsafe { write_volatile(to.add(at), read_volatile(from.add(at))) };
    }
    to
}

/// # Safety
/// As in C.
#[no_mangle]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    let word = Word(usize::from(byte as u8) * (usize::MAX / 255));
    let mut at = 0;
    // SAFETY: the caller vouches for the range.
    unsafe {
        while count - at >= WORD {
            write_volatile(to.add(at).cast::<Word>(), word);
            at += WORD;
        }
        while at < count {
            write_volatile(to.add(at), byte as u8);
            at += 1;
        }
    }
    to
}

/// # Safety
/// As in C.
#[no_mangle]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    let mut at = 0;
    while at < count {
        // SAFETY: the caller vouches for both ranges.
        let (x, y) = unsafe { (read_volatile(a.add(at)), read_volatile(b.add(at))) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        at += 1;
    }
    0
}

/// # Safety
/// As in C.
#[no_mangle]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: as the caller vouches.
    unsafe { memcmp(a, b, count) }
}

/// # Safety
/// As in C.
#[no_mangle]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller vouches for the terminating NUL.
    while unsafe { read_volatile(text.add(length)) } != 0 {
        length += 1;
    }
    length
}

/// Unwinding tables of the compiled core library name these; nothing ever unwinds.
#[cfg(target_arch = "arm")]
mod unwind {
    #[no_mangle]
    extern "C" fn __aeabi_unwind_cpp_pr0() {}
    #[no_mangle]
    extern "C" fn __aeabi_unwind_cpp_pr1() {}
    #[no_mangle]
    extern "C" fn __aeabi_unwind_cpp_pr2() {}
}

#[no_mangle]
extern "C" fn rust_eh_personality() {}
#[no_mangle]
extern "C" fn _Unwind_Resume() -> ! {
    crate::runtime::entry::exit(1)
}
