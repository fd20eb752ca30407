/* SPDX-License-Identifier: MIT */
/*
 * What the programs of the benchmark need of Linux on 64-bit ARM, without libc: system calls by number
 * (include/uapi/asm-generic/unistd.h), a start, and marks for count.c.
 */
#ifndef GUEST_H
#define GUEST_H

typedef unsigned long word;

enum {
    SYS_mkdirat = 34, SYS_unlinkat = 35, SYS_mount = 40, SYS_chdir = 49, SYS_chroot = 51, SYS_openat = 56,
    SYS_close = 57, SYS_read = 63, SYS_write = 64, SYS_exit = 93, SYS_reboot = 142, SYS_execve = 221
};

enum { CURRENT_FOLDER = -100 };

static inline long call(long number, word a, word b, word c, word d, word e)
{
    register long x8 __asm__("x8") = number;
    register word x0 __asm__("x0") = a;
    register word x1 __asm__("x1") = b;
    register word x2 __asm__("x2") = c;
    register word x3 __asm__("x3") = d;
    register word x4 __asm__("x4") = e;

    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
}

#define MARK(n) __asm__ volatile("hint #0x40 + " #n ::: "memory")

static inline long mount(const char *source, const char *target, const char *type, word flags, const char *data)
{
    return call(SYS_mount, (word)source, (word)target, (word)type, flags, (word)data);
}

static inline long make_folder(const char *path, word mode)
{
    return call(SYS_mkdirat, CURRENT_FOLDER, (word)path, mode, 0, 0);
}

static inline long open_file(const char *path, word flags)
{
    return call(SYS_openat, CURRENT_FOLDER, (word)path, flags, 0, 0);
}

static inline long execute(const char *path, char *const *arguments, char *const *environment)
{
    return call(SYS_execve, (word)path, (word)arguments, (word)environment, 0, 0);
}

/* Where a program begins: the stack holds the number of arguments, then the arguments, then the environment. */
#define START                                                                                                          \
    __asm__(".global _start\n_start: mov x0, sp\n and sp, x0, #-16\n b begin\n");                                     \
    __attribute__((noreturn, used)) void begin(word *stack)

#endif
