// SPDX-License-Identifier: MIT
//! System calls by hand. rustix keeps execve in a module for libc authors that it renames at will, reads the
//! clock through the vDSO, whose parser is larger than this file's machine code by far, has three ways to
//! stat on 32 bit, two kilobytes of them, and polls there with a call that not every kernel has.

use core::ffi::{c_char, CStr};

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
    unsafe { syscall(NUMBER, [path as usize, argv as usize, envp as usize, 0]) }
}

/// The monotonic clock, microseconds; `None`: the kernel has none that is known here.
pub fn monotonic_clock() -> Option<u64> {
    // On ARM the call with 32-bit seconds, which kernels before 5.1 have; uptime fits.
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
    if unsafe { syscall(NUMBER, [CLOCK_MONOTONIC, time.as_mut_ptr() as usize, 0, 0]) } == 0 {
        let [seconds, nanoseconds] = time;
        return Some(seconds as u64 * 1_000_000 + u64::from(nanoseconds as u32 / 1000));
    }
    // `clock_gettime64`: kernels without CONFIG_COMPAT_32BIT_TIME have only that.
    #[cfg(target_arch = "arm")]
    {
        let mut time = [0u64; 2];
        // SAFETY: seconds and nanoseconds are 64 bits each.
        if unsafe { syscall(403, [CLOCK_MONOTONIC, time.as_mut_ptr() as usize, 0, 0]) } == 0 {
            let [seconds, nanoseconds] = time;
            return Some(seconds * 1_000_000 + u64::from(nanoseconds as u32 / 1000));
        }
    }
    None
}

/// The error number of an interrupted call.
pub const EINTR: i32 = 4;

/// Waits until a descriptor can be read, at most some milliseconds, and says whether it can; without one, sleeps.
/// `poll(2)` takes milliseconds, which every kernel understands, unlike `ppoll(2)` on 32 bit; new architectures have
/// only the latter.
pub fn poll(descriptor: Option<i32>, milliseconds: u64) -> Result<bool, i32> {
    const POLLIN: u32 = 1;
    // `struct pollfd`: the descriptor, then 16 bits each of what is waited for and what came.
    let wanted = if cfg!(target_endian = "little") {
        POLLIN
    } else {
        POLLIN << 16
    };
    let mut entry = [descriptor.unwrap_or(-1) as u32, wanted];
    let (entries, count) = (
        entry.as_mut_ptr() as usize,
        usize::from(descriptor.is_some()),
    );
    #[cfg(target_arch = "aarch64")]
    let (number, timeout) = (73, [milliseconds / 1000, milliseconds % 1000 * 1_000_000]);
    #[cfg(target_arch = "aarch64")]
    let timeout = timeout.as_ptr() as usize;
    #[cfg(not(target_arch = "aarch64"))]
    let (number, timeout) = (
        if cfg!(target_arch = "arm") { 168 } else { 7 },
        milliseconds.min(i32::MAX as u64) as usize,
    );
    // SAFETY: as many entries as is said, and a time that lives on.
    match unsafe { syscall(number, [entries, count, timeout, 0]) } {
        0 => Ok(false),
        error if error < 0 => Err(-error as i32),
        _ => Ok(true),
    }
}

/// What the kernel says of a file.
pub struct Status {
    /// Device that the file is on, as the kernel packs it.
    pub device: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of a device node, as the kernel packs it.
    pub number: u64,
}

/// The directory where this process is: `AT_FDCWD`.
pub const HERE: i32 = -100;

/// `fstatat(2)` of the entry itself, not of what a link points to; of `directory` when `path` is empty. Gives
/// the error number when that fails.
pub fn stat(directory: i32, path: &CStr) -> Result<Status, i32> {
    // `fstatat64` on ARM, `newfstatat` elsewhere.
    const NUMBER: usize = if cfg!(target_arch = "arm") {
        327
    } else if cfg!(target_arch = "aarch64") {
        79
    } else {
        262
    };
    /// `AT_SYMLINK_NOFOLLOW` and `AT_EMPTY_PATH`.
    const FLAGS: usize = 0x1100;
    // Room for the largest `struct stat` (x86-64: 144 bytes); all of them begin with 64 bits of device.
    let mut found = [0u64; 20];
    let arguments = [
        directory as usize,
        path.as_ptr() as usize,
        found.as_mut_ptr() as usize,
        FLAGS,
    ];
    // SAFETY: path is a C string, and the kernel writes no more than a `struct stat`.
    let result = unsafe { syscall(NUMBER, arguments) };
    if result < 0 {
        return Err(-result as i32);
    }
    // `asm/stat.h`: where mode, owner, group (32 bits) and number (64 bits) are.
    let [device, _, a, b, c, d, ..] = found;
    let (low, high) = (|word: u64| word as u32, |word: u64| (word >> 32) as u32);
    let [mode, uid, gid] = if cfg!(target_arch = "x86_64") {
        [low(b), high(b), low(c)]
    } else {
        [low(a), low(b), high(b)]
    };
    Ok(Status {
        device,
        mode,
        uid,
        gid,
        number: if cfg!(target_arch = "x86_64") { d } else { c },
    })
}

/// # Safety
/// As the system call asks.
unsafe fn syscall(number: usize, [a, b, c, d]: [usize; 4]) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the arguments; the kernel clobbers rcx and r11 only.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller vouches for the arguments.
    unsafe {
        core::arch::asm!("svc 0", in("x8") number,
            inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, options(nostack));
    }
    #[cfg(target_arch = "arm")]
    // SAFETY: the caller vouches for the arguments. r7 is Thumb's frame pointer: saved around the call.
    unsafe {
        core::arch::asm!("mov {saved}, r7", "mov r7, {number}", "svc 0", "mov r7, {saved}",
            saved = out(reg) _, number = in(reg) number,
            inlateout("r0") a => result, in("r1") b, in("r2") c, in("r3") d, options(nostack));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_that_of_the_standard_library() {
        use std::os::unix::fs::MetadataExt;
        for name in ["/dev/null", "/proc/self/exe", "/tmp", "/etc/passwd"] {
            let theirs = std::fs::symlink_metadata(name).unwrap();
            let path = std::ffi::CString::new(name).unwrap();
            let ours = stat(HERE, &path).unwrap();
            assert_eq!(
                (ours.device, ours.number),
                (theirs.dev(), theirs.rdev()),
                "{name}"
            );
            let both = (ours.mode, ours.uid, ours.gid);
            assert_eq!(both, (theirs.mode(), theirs.uid(), theirs.gid()), "{name}");
        }
        let nowhere = std::ffi::CString::new("/nowhere").unwrap();
        assert_eq!(stat(HERE, &nowhere).err(), Some(2));
    }

    #[test]
    fn clock_runs_forward() {
        // Beside another clock: nobody knows how long a busy machine sleeps.
        let outside = std::time::Instant::now();
        let first = monotonic_clock().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(3));
        let passed = monotonic_clock().unwrap() - first;
        let outside = outside.elapsed().as_micros() as u64;
        assert!(
            (3_000..=outside + 1).contains(&passed),
            "{passed} of {outside}"
        );
    }
}
