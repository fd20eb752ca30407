// SPDX-License-Identifier: MIT
/*
 * The least that a protected boot can cost: an /init without libc that makes the same mounts as ours and does nothing
 * else. It reads no command line and no superblock, waits for nothing, reports nothing, copies no fstab, and goes on
 * after each failure: nobody should boot with it. The root is /dev/vda, ext4.
 */
#include "guest.h"

enum { READ_ONLY = 1, NOSUID = 2, NODEV = 4, NOEXEC = 8, MOVE = 8192 };

START
{
    char *const *arguments = (char *const *)(stack + 1);
    char *const *environment = arguments + stack[0] + 1;

    mount("devtmpfs", "/dev", "devtmpfs", NOSUID, "mode=0755");
    mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC, 0);
    mount("sysfs", "/sys", "sysfs", NOSUID | NODEV | NOEXEC, 0);
    make_folder("/mnt", 0755);
    make_folder("/mnt/root-RO", 0755);
    make_folder("/mnt/root-RW", 0755);
    make_folder("/newroot", 0755);
    mount("/dev/vda", "/mnt/root-RO", "ext4", READ_ONLY, 0);
    mount("tmpfs", "/mnt/root-RW", "tmpfs", 0, "mode=0755,size=20%");
    make_folder("/mnt/root-RW/upper", 0755);
    make_folder("/mnt/root-RW/work", 0700);
    mount("overlay", "/newroot", "overlay", 0,
          "lowerdir=/mnt/root-RO,upperdir=/mnt/root-RW/upper,workdir=/mnt/root-RW/work");
    make_folder("/newroot/mnt/root-RO", 0755);
    make_folder("/newroot/mnt/root-RW", 0755);
    mount("/mnt/root-RO", "/newroot/mnt/root-RO", 0, MOVE, 0);
    mount("/mnt/root-RW", "/newroot/mnt/root-RW", 0, MOVE, 0);
    mount("/dev", "/newroot/dev", 0, MOVE, 0);
    mount("/proc", "/newroot/proc", 0, MOVE, 0);
    mount("/sys", "/newroot/sys", 0, MOVE, 0);
    call(SYS_chdir, (word)"/newroot", 0, 0, 0, 0);
    call(SYS_unlinkat, CURRENT_FOLDER, (word)"/init", 0, 0, 0);
    mount("/newroot", "/", 0, MOVE, 0);
    call(SYS_chroot, (word)".", 0, 0, 0, 0);
    call(SYS_chdir, (word)"/", 0, 0, 0, 0);
    execute("/sbin/init", arguments, environment);
    for (;;)
        ;
}
