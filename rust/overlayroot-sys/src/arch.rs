// SPDX-License-Identifier: MIT
//! execve(2), by hand: rustix has it in a module that it keeps for libc authors and renames at will.

use core::ffi::c_char;

/// Replaces this process; returns the negative error number when that fails.
///
/// # Safety
/// `path` is a C string; `argv` and `envp` are null-terminated arrays of C strings.
pub unsafe fn execve(
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the pointers; the kernel clobbers rcx and r11 only.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") 59isize => result,
            in("rdi") path, in("rsi") argv, in("rdx") envp,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        core::arch::asm!("svc 0", in("x8") 221isize,
            inlateout("x0") path => result, in("x1") argv, in("x2") envp, options(nostack));
    }
    #[cfg(target_arch = "arm")]
    // SAFETY: the caller vouches for the pointers. r7 is Thumb's frame pointer: saved around the call.
    unsafe {
        core::arch::asm!("mov {saved}, r7", "mov r7, #11", "svc 0", "mov r7, {saved}",
            saved = out(reg) _,
            inlateout("r0") path => result, in("r1") argv, in("r2") envp, options(nostack));
    }
    result
}
