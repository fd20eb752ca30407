/* SPDX-License-Identifier: MIT
 * Runs before the init in an initramfs, starts it, and makes its system calls fail: one by one, or all of
 * a kind. The kernel hands parameters that it does not know over as environment variables:
 *     failcall=FIRST:LAST:ERRNO:TEXT   calls number FIRST to LAST that begin with TEXT (+ is a blank)
 *     failcall=list                    no call; all are listed on /dev/ttyS0
 * A call is its name and its paths or types: `mount tmpfs /mnt/root-RW`. It fails without being made.
 * x86-64 only. The tracer is a child of what it traces, so that the init is PID 1, and ends with it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define INIT "/overlayroot-init"

/* What the init calls, and which of its arguments are texts. */
static const struct {
	long number;
	const char *name;
	int texts[2]; /* registers, 1 to 6; 0: none */
} known[] = {
	{ SYS_read, "read", { 0 } },
	{ SYS_write, "write", { 0 } },
	{ SYS_pread64, "pread", { 0 } },
	{ SYS_openat, "open", { 2 } },
	{ SYS_close, "close", { 0 } },
	{ SYS_newfstatat, "stat", { 2 } },
	{ SYS_fstat, "fstat", { 0 } },
	{ SYS_statx, "stat", { 2 } },
	{ SYS_readlinkat, "readlink", { 2 } },
	{ SYS_mkdirat, "mkdir", { 2 } },
	{ SYS_mknodat, "mknod", { 2 } },
	{ SYS_fchownat, "chown", { 2 } },
	{ SYS_fchmodat, "chmod", { 2 } },
	{ SYS_lsetxattr, "setxattr", { 1, 2 } },
	{ SYS_unlinkat, "unlink", { 2 } },
	{ SYS_mount, "mount", { 3, 2 } },
	{ SYS_umount2, "umount", { 1 } },
	{ SYS_ioctl, "ioctl", { 0 } },
	{ SYS_finit_module, "finit_module", { 0 } },
	{ SYS_fcntl, "fcntl", { 0 } },
	{ SYS_dup2, "dup", { 0 } },
	{ SYS_dup3, "dup", { 0 } },
	{ SYS_socket, "socket", { 0 } },
	{ SYS_bind, "bind", { 0 } },
	{ SYS_recvfrom, "recv", { 0 } },
	{ SYS_poll, "poll", { 0 } },
	{ SYS_ppoll, "poll", { 0 } },
	{ SYS_mmap, "mmap", { 0 } },
	{ SYS_getpid, "getpid", { 0 } },
	{ SYS_uname, "uname", { 0 } },
	{ SYS_sysinfo, "sysinfo", { 0 } },
	{ SYS_clock_gettime, "clock", { 0 } },
	{ SYS_fstatfs, "fstatfs", { 0 } },
	{ SYS_getdents64, "getdents", { 0 } },
	{ SYS_chdir, "chdir", { 1 } },
	{ SYS_chroot, "chroot", { 1 } },
	{ SYS_execve, "execve", { 1 } },
	{ SYS_reboot, "reboot", { 0 } },
};

static long register_of(pid_t pid, size_t offset)
{
	return ptrace(PTRACE_PEEKUSER, pid, offset, 0);
}

static long argument(pid_t pid, int number)
{
	static const size_t places[] = {
		0,
		offsetof(struct user_regs_struct, rdi),
		offsetof(struct user_regs_struct, rsi),
		offsetof(struct user_regs_struct, rdx),
		offsetof(struct user_regs_struct, r10),
	};
	return register_of(pid, places[number]);
}

/* Adds a blank and a text of the traced process. */
static void add_text(char *label, size_t room, pid_t pid, long address)
{
	size_t at = strlen(label);

	if (address == 0)
		return;
	label[at++] = ' ';
	while (at + sizeof(long) < room) {
		long word = ptrace(PTRACE_PEEKDATA, pid, address, 0);
		memcpy(label + at, &word, sizeof word);
		if (memchr(&word, 0, sizeof word))
			return;
		at += sizeof word;
		address += sizeof word;
	}
	label[at] = 0;
}

static void describe(char *label, size_t room, pid_t pid)
{
	long number = register_of(pid, offsetof(struct user_regs_struct, orig_rax));

	memset(label, 0, room);
	snprintf(label, room, "call-%ld", number);
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (known[i].number != number)
			continue;
		strcpy(label, known[i].name);
		for (int text = 0; text < 2; text++)
			if (known[i].texts[text])
				add_text(label, room, pid, argument(pid, known[i].texts[text]));
	}
}

static void trace(pid_t pid, int ready, FILE *out, const char *rule)
{
	long first = 1, last = 0, error = 0, number = 0;
	int status, inside = 0, failing = 0, started = 0, listed = strcmp(rule, "list") == 0;
	char text[256] = "", label[512];

	sscanf(rule, "%ld:%ld:%ld:%255s", &first, &last, &error, text);
	for (char *c = text; *c; c++)
		*c = *c == '+' ? ' ' : *c;
	if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC) ||
	    ptrace(PTRACE_INTERRUPT, pid, 0, 0)) {
		perror("failcall: cannot trace");
		return;
	}
	close(ready);
	if (listed)
		fprintf(out, "@@ calls\n");
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8)) {
			if (started++) /* the real init */
				break;
			inside = 1; /* of the execve that starts our init */
		} else if (WSTOPSIG(status) == (SIGTRAP | 0x80) && started) {
			inside = !inside;
			if (inside) {
				describe(label, sizeof label, pid);
				if (listed)
					fprintf(out, "%s\n", label);
				failing = number >= first && number <= last && strncmp(label, text, strlen(text)) == 0;
				number++;
				if (failing)
					ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), -1L);
			} else if (failing) {
				ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), -error);
			}
		}
		ptrace(PTRACE_SYSCALL, pid, 0, 0);
	}
	if (listed)
		fprintf(out, "@@.\n");
	fflush(out);
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

int main(int argc, char **argv)
{
	const char *rule = getenv("failcall");
	pid_t init = getpid();
	int ready[2];
	char byte;

	(void)argc;
	mknod("/failcall-out", S_IFCHR | 0600, makedev(4, 64));
	if (rule && pipe2(ready, O_CLOEXEC) == 0) {
		pid_t child = fork();
		if (child < 0)
			perror("failcall: cannot fork");
		if (child == 0) {
			FILE *out = fopen("/failcall-out", "w");
			if (out)
				trace(init, ready[1], out, rule);
			_exit(0);
		}
		close(ready[1]);
		/* The tracer closes its end when it is ready. */
		while (read(ready[0], &byte, 1) < 0 && errno == EINTR)
			;
		close(ready[0]);
	}
	execv(INIT, argv);
	perror(INIT);
	return 1;
}
