// SPDX-License-Identifier: MIT
// Preloaded into User-Mode Linux 6.1: processors whose state is larger than it knows (AMX). The kernel takes a
// process's extended state as a whole or not at all, so what is behind the part that it hands over is added here.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef long call(enum __ptrace_request, pid_t, void *, void *);

long ptrace(enum __ptrace_request request, ...)
{
    static call *real;
    static _Alignas(64) char state[1 << 16];
    va_list rest;
    va_start(rest, request);
    pid_t pid = va_arg(rest, pid_t);
    void *address = va_arg(rest, void *);
    void *data = va_arg(rest, void *);
    va_end(rest);
    if (!real)
        real = (call *)dlsym(RTLD_NEXT, "ptrace");
    if (request != PTRACE_SETREGSET || address != (void *)NT_X86_XSTATE)
        return real(request, pid, address, data);
    struct iovec *part = data;
    struct iovec whole = {state, sizeof state};
    if (real(PTRACE_GETREGSET, pid, address, &whole) || whole.iov_len < part->iov_len)
        return real(request, pid, address, data);
    memcpy(state, part->iov_base, part->iov_len);
    return real(request, pid, address, &whole);
}
