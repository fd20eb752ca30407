# SPDX-License-Identifier: MIT
SUMMARY = "Initramfs that protects the root: our init, its configuration, and nothing else"
DESCRIPTION = "Mounts the root that the kernel command line names, read-only, stacks RAM on it and starts the real init."
LICENSE = "MIT"

inherit features_check overlayroot-variables

REQUIRED_DISTRO_FEATURES = "overlayroot"

# Only these: no shell, no libc, no device manager.
PACKAGE_INSTALL = "overlayroot-init overlayroot-conf ${OVERLAYROOT_INITRAMFS_PACKAGES}"
OVERLAYROOT_INITRAMFS_PACKAGES = "${@' '.join('kernel-module-' + name.replace('_', '-') for name in d.getVar('OVERLAYROOT_INITRAMFS_MODULES').split())}"
OVERLAYROOT_INITRAMFS_PACKAGES[doc] = "Packages of the kernel modules in the initramfs; derived."
PACKAGE_INSTALL_ATTEMPTONLY = ""
BAD_RECOMMENDATIONS = ""
NO_RECOMMENDATIONS = "1"
IMAGE_FEATURES = ""
IMAGE_LINGUAS = ""
IMAGE_NAME_SUFFIX ?= ""
# What the kernel fragment asks the kernel to unpack (RD_GZIP): for a kernel that carries it; and behind U-Boot's header.
IMAGE_FSTYPES = "cpio.gz cpio.gz.u-boot"

inherit core-image

IMAGE_ROOTFS_SIZE = "8192"
IMAGE_ROOTFS_EXTRA_SPACE = "0"
# The kernel is built with this image when it is bundled: it must not wait for the kernel then.
KERNELDEPMODDEPEND = "${@'virtual/kernel:do_packagedata' if d.getVar('OVERLAYROOT_INITRAMFS_MODULES') else ''}"

# Not in do_rootfs: it runs depmod last, and reads the package manager's files until then.
IMAGE_PREPROCESS_COMMAND += "overlayroot_initramfs_modules overlayroot_initramfs_trim"

# The list that the init loads, in order.
python overlayroot_initramfs_modules() {
    import os

    names = d.getVar("OVERLAYROOT_INITRAMFS_MODULES").split()
    if not names:
        return
    folder = d.getVar("IMAGE_ROOTFS")
    paths = overlayroot.modules.load_order(folder, names)
    with open(os.path.join(folder, "etc/overlayroot.modules"), "w") as file:
        file.writelines(path + "\n" for path in paths)
}

# What package managers and image classes leave behind is of no use in here.
overlayroot_initramfs_trim() {
    cd ${IMAGE_ROOTFS}
    find . -mindepth 1 \( -path ./init -o -path ./etc -o -path ./etc/overlayroot.conf -o -path ./etc/overlayroot.modules \
        -o -path ./lib -o -path ./lib/modules -o -path './lib/modules/*' \
        -o -path ./usr -o -path ./usr/lib -o -path ./usr/lib/modules -o -path './usr/lib/modules/*' \) -o -print0 |
        sort -rz | xargs -0 -r rm -rf
    # Of the modules only themselves: lists of them are for modprobe.
    find . -path '*/lib/modules/*' -type f ! -name '*.ko*' -delete
    # What the init mounts on.
    install -d dev proc sys mnt
}
