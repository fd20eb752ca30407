// SPDX-License-Identifier: MIT
//! Two system calls by hand. rustix keeps execve in a module for libc authors that it renames at will, and
//! reads the clock through the vDSO, whose parser is larger than this file's machine code by far.

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
    const NUMBER: usize = if cfg!(target_arch = "arm") {
        11
    } else if cfg!(target_arch = "aarch64") {
        221
    } else {
        59
    };
    // SAFETY: the caller vouches for the pointers.
    unsafe { syscall3(NUMBER, path as usize, argv as usize, envp as usize) }
}

/// The monotonic clock, microseconds.
pub fn monotonic_clock() -> u64 {
    // On ARM this is the call with 32-bit seconds, which every kernel has; uptime fits.
    const NUMBER: usize = if cfg!(target_arch = "arm") {
        263
    } else if cfg!(target_arch = "aarch64") {
        113
    } else {
        228
    };
    const CLOCK_MONOTONIC: usize = 1;
    let mut time = [0usize; 2];
    // SAFETY: seconds and nanoseconds are two words each as wide as a register.
    unsafe { syscall3(NUMBER, CLOCK_MONOTONIC, time.as_mut_ptr() as usize, 0) };
    let [seconds, nanoseconds] = time;
    seconds as u64 * 1_000_000 + u64::from(nanoseconds as u32 / 1000)
}

/// # Safety
/// As the system call asks.
unsafe fn syscall3(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the arguments; the kernel clobbers rcx and r11 only.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller vouches for the arguments.
    unsafe {
        core::arch::asm!("svc 0", in("x8") number,
            inlateout("x0") a => result, in("x1") b, in("x2") c, options(nostack));
    }
    #[cfg(target_arch = "arm")]
    // SAFETY: the caller vouches for the arguments. r7 is Thumb's frame pointer: saved around the call.
    unsafe {
        core::arch::asm!("mov {saved}, r7", "mov r7, {number}", "svc 0", "mov r7, {saved}",
            saved = out(reg) _, number = in(reg) number,
            inlateout("r0") a => result, in("r1") b, in("r2") c, options(nostack));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_runs_forward() {
        let first = monotonic_clock();
        std::thread::sleep(std::time::Duration::from_millis(3));
        assert!((3_000..3_000_000).contains(&(monotonic_clock() - first)));
    }
}
