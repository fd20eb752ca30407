// SPDX-License-Identifier: MIT
/*
 * A plugin for QEMU that counts what a boot costs: guest instructions and system calls, for 64-bit ARM. They do not
 * depend on how busy the host is, and time in which the processor has nothing to do is left out, as no instruction
 * runs then.
 *
 * Each mark is a line `NAME INSTRUCTIONS OF-PROGRAMS SYSTEM-CALLS`, the counters at that moment: all instructions, those
 * of programs (below the kernel's half of the address space), calls of the kernel. A program of the guest makes one
 * by executing `hint #0x40` to `#0x4f`, which does nothing else on any processor: hint0 to hint15. The kernel's own
 * functions are marks where their addresses are given. `program` is the first system call of any program, from which
 * on instructions are taken to be programs'; `end` is the last line.
 *
 * Options: marks=PATH for the lines; address=NAME:HEX, as often as wanted: the first time that this address is executed.
 * Source of the interface: docs/devel/tcg-plugins.rst of QEMU. Debian's packages have no qemu-plugin.h, so what is
 * used of it is declared here; version 4 is that of QEMU 9.2 and later.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
enum { PLUGIN_VERSION = 4, NO_REGISTERS = 0 };
typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*executed)(unsigned int cpu, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, executed, int, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, executed, int, void *);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);

EXPORT int qemu_plugin_version = PLUGIN_VERSION;

#define MAX_ADDRESSES 16
enum { SVC = 0xd4000001, SVC_MASK = 0xffe0001f };

struct address {
    char name[32];
    uint64_t at;
    int seen;
};

static FILE *lines;
static struct address addresses[MAX_ADDRESSES];
static int count_of_addresses;
/* One processor: no locks. */
static uint64_t instructions, of_programs, system_calls;

static void write_mark(const char *name)
{
    fprintf(lines, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", name, instructions, of_programs, system_calls);
    fflush(lines);
}

static void at_hint(unsigned int cpu, void *data)
{
    char name[16];

    (void)cpu;
    snprintf(name, sizeof name, "hint%" PRIuPTR, (uintptr_t)data);
    write_mark(name);
}

static void at_address(unsigned int cpu, void *data)
{
    struct address *address = data;

    (void)cpu;
    if (!address->seen) {
        address->seen = 1;
        write_mark(address->name);
    }
}

static void at_instruction(unsigned int cpu, void *data)
{
    (void)cpu;
    (void)data;
    if (system_calls++ == 0)
        write_mark("program");
}

static void at_block(unsigned int cpu, void *data)
{
    (void)cpu;
    instructions += (uintptr_t)data;
}

static void at_block_of_program(unsigned int cpu, void *data)
{
    at_block(cpu, data);
    /* Before there are programs, the kernel itself runs in the lower half, until its page tables are made. */
    if (system_calls > 0)
        of_programs += (uintptr_t)data;
}

/* Each block of instructions is looked at once, when it is translated. */
static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    size_t length = qemu_plugin_tb_n_insns(block);

    (void)id;
    if (length == 0)
        return;
    qemu_plugin_register_vcpu_tb_exec_cb(
        block, qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(block, 0)) >> 63 ? at_block : at_block_of_program,
        NO_REGISTERS, (void *)(uintptr_t)length);
    for (size_t i = 0; i < length; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        uint64_t at = qemu_plugin_insn_vaddr(insn);
        uint32_t code = 0;

        qemu_plugin_insn_data(insn, &code, sizeof code);
        /* `svc #N`, and `hint #0x40` to `#0x4f`: Arm Architecture Reference Manual, C6.2. */
        if ((code & SVC_MASK) == SVC)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, at_instruction, NO_REGISTERS, NULL);
        if ((code & 0xfffffe1f) == (0xd503201f | 0x40 << 5))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, at_hint, NO_REGISTERS,
                                                   (void *)(uintptr_t)(code >> 5 & 0xf));
        for (int n = 0; n < count_of_addresses; n++)
            if (addresses[n].at == at)
                qemu_plugin_register_vcpu_insn_exec_cb(insn, at_address, NO_REGISTERS, &addresses[n]);
    }
}

static void ended(plugin_id id, void *data)
{
    (void)id;
    (void)data;
    write_mark("end");
    fclose(lines);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        const char *colon = strrchr(argv[i], ':');

        if (!strncmp(argv[i], "marks=", 6)) {
            lines = fopen(argv[i] + 6, "w");
        } else if (!strncmp(argv[i], "address=", 8) && colon && count_of_addresses < MAX_ADDRESSES) {
            struct address *address = &addresses[count_of_addresses++];
            size_t length = colon - argv[i] - 8;

            if (length >= sizeof address->name)
                length = sizeof address->name - 1;
            memcpy(address->name, argv[i] + 8, length);
            address->at = strtoull(colon + 1, NULL, 16);
        } else {
            fprintf(stderr, "count: what is %s?\n", argv[i]);
            return -1;
        }
    }
    if (!lines) {
        fprintf(stderr, "count: marks=PATH is missing, or cannot be written\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
