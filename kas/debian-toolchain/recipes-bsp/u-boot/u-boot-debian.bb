# SPDX-License-Identifier: MIT
SUMMARY = "U-Boot for the Nitrogen6X from Debian's u-boot-imx"
LICENSE = "GPL-2.0-or-later"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/GPL-2.0-or-later;md5=fed54355545ffd980b814dab4a3b312c"

PROVIDES = "virtual/bootloader u-boot"

FILESEXTRAPATHS:prepend := "${DEBIAN_TOOLCHAIN_DIR}:"
SRC_URI = "file://u-boot-imx.deb;subdir=u-boot"
S = "${OVERLAYROOT_UNPACKDIR}/u-boot"

inherit deploy

INHIBIT_DEFAULT_DEPS = "1"
COMPATIBLE_MACHINE = "nitrogen6x"
PACKAGE_ARCH = "${MACHINE_ARCH}"
PACKAGES = "${PN}"
ALLOW_EMPTY:${PN} = "1"

do_deploy() {
    install -m 0644 ${S}/usr/lib/u-boot/nitrogen6q/u-boot-dtb.imx ${DEPLOYDIR}/${UBOOT_BINARY}
}
addtask deploy after do_install before do_build
