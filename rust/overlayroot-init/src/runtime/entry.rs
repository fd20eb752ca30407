// SPDX-License-Identifier: MIT
//! `_start`: the kernel enters here with the arguments on the stack (System V ABI of each architecture).

use core::ffi::c_char;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl _start",
    ".type _start, @function",
    "_start: xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {begin}",
    "ud2",
    begin = sym begin
);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl _start",
    ".type _start, %function",
    "_start: mov x29, #0",
    "mov x0, sp",
    "and sp, x0, #-16",
    "bl {begin}",
    "brk #0",
    begin = sym begin
);
#[cfg(target_arch = "arm")]
core::arch::global_asm!(
    ".syntax unified",
    ".arm",
    ".globl _start",
    ".type _start, %function",
    "_start: mov r0, sp",
    "bic sp, sp, #7",
    "bl {begin}",
    "udf #0",
    begin = sym begin
);

/// Takes the kernel's stack layout apart: count, arguments, null, environment, null, auxiliary vector.
///
/// # Safety
/// `stack` is the stack pointer at process entry.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the layout is the kernel's promise (`create_elf_tables()` in `fs/binfmt_elf.c`).
    let status = unsafe {
        let argc = *stack;
        let argv = stack.add(1).cast::<*const c_char>();
        let envp = argv.add(argc + 1);
        crate::start(argc, argv, envp)
    };
    exit(status)
}

/// Ends the process.
pub fn exit(status: i32) -> ! {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: exit_group(2) does not return.
    unsafe {
        core::arch::asm!("syscall", in("rax") 231, in("rdi") status, options(noreturn, nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: exit_group(2) does not return.
    unsafe {
        core::arch::asm!("svc 0", in("x8") 94, in("x0") status, options(noreturn, nostack));
    }
    #[cfg(target_arch = "arm")]
    // SAFETY: exit_group(2) does not return, so r7 need not be saved.
    unsafe {
        core::arch::asm!("mov r7, #248", "svc 0", in("r0") status, options(noreturn, nostack));
    }
}
