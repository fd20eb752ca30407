# SPDX-License-Identifier: MIT
SUMMARY = "U-Boot script that boots with a protected root"
DESCRIPTION = "One script for Boundary's and mainline's U-Boot; overlayroot-image.bbclass puts it on the boot \
partition. What differs between images and machines is in overlayroot.env beside it."
SECTION = "bootloaders"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

DEPENDS = "u-boot-tools-native"

SRC_URI = "file://boot.cmd"
S = "${OVERLAYROOT_UNPACKDIR}"

inherit deploy features_check nopackages

REQUIRED_DISTRO_FEATURES = "overlayroot"

PACKAGE_ARCH = "${MACHINE_ARCH}"
INHIBIT_DEFAULT_DEPS = "1"

do_configure[noexec] = "1"
do_install[noexec] = "1"

do_compile() {
    mkimage -A arm -O linux -T script -C none -n overlayroot -d ${S}/boot.cmd ${B}/boot.scr
}

do_deploy() {
    install -m 0644 ${B}/boot.scr ${DEPLOYDIR}/boot.scr-overlayroot
}
addtask deploy after do_compile before do_build
