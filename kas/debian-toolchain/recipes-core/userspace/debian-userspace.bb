# SPDX-License-Identifier: MIT
SUMMARY = "The smallest userspace that logs in: Debian's static busybox, its C library, and a few files"
LICENSE = "GPL-2.0-only & LGPL-2.1-or-later & GPL-3.0-with-GCC-exception & MIT"
LIC_FILES_CHKSUM = " \
    file://${COMMON_LICENSE_DIR}/GPL-2.0-only;md5=801f80980d171dd6425610833a22dbe6 \
    file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302 \
"

FILESEXTRAPATHS:prepend := "${DEBIAN_TOOLCHAIN_DIR}:"
SRC_URI = " \
    file://busybox-static.deb;subdir=userspace \
    file://libc.deb;subdir=userspace \
    file://libgcc.deb;subdir=userspace \
    file://inittab;subdir=userspace \
    file://rcS;subdir=userspace \
"
S = "${OVERLAYROOT_UNPACKDIR}/userspace"

INHIBIT_DEFAULT_DEPS = "1"
COMPATIBLE_HOST = "arm.*-linux"

BUSYBOX_LINKS = "[ ash awk basename cat chmod chown cp cut date dd df dirname dmesg du echo env false find free grep \
    head hostname id kill ln ls mkdir mkfifo mknod mktemp more mount mv nproc od pidof poweroff printf ps pwd readlink reboot rm \
    rmdir sed seq sh sha256sum sleep sort stat stty sync tail tar tee test touch tr true umount uname uniq vi wc which \
    xargs"
BUSYBOX_SBIN_LINKS = "blkid depmod getty halt ifconfig init insmod ip klogd losetup lsmod modprobe mdev rmmod route \
    switch_root syslogd sysctl udhcpc"

do_install() {
    install -D -m 0755 ${S}/usr/bin/busybox ${D}${base_bindir}/busybox
    for name in ${BUSYBOX_LINKS}; do
        ln -s busybox "${D}${base_bindir}/$name"
    done
    install -d ${D}${base_sbindir}
    for name in ${BUSYBOX_SBIN_LINKS}; do
        ln -s ../bin/busybox "${D}${base_sbindir}/$name"
    done
    # What overlayrootctl is linked with: that of the compiler's Debian.
    for name in ld-linux-armhf.so.3 libc.so.6 libgcc_s.so.1; do
        install -D -m 0755 "${S}/lib/arm-linux-gnueabihf/$name" "${D}${base_libdir}/$name"
    done
    install -D -m 0644 ${S}/inittab ${D}${sysconfdir}/inittab
    install -D -m 0755 ${S}/rcS ${D}${sysconfdir}/init.d/rcS
    printf 'root::0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/nonexistent:/bin/false\n' >${D}${sysconfdir}/passwd
    printf 'root:x:0:\nnogroup:x:65534:\n' >${D}${sysconfdir}/group
}

FILES:${PN} = "${base_bindir} ${base_sbindir} ${base_libdir} ${sysconfdir}"
RPROVIDES:${PN} = "base-passwd busybox"
# A stripped program of Debian's.
INSANE_SKIP:${PN} = "already-stripped"
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_PACKAGE_DEBUG_SPLIT = "1"
