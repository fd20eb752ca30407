# SPDX-License-Identifier: MIT
SUMMARY = "Settings with which the host's apt fills a root file system"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "file://apt.conf.sample"
S = "${OVERLAYROOT_UNPACKDIR}"

inherit native

INHIBIT_DEFAULT_DEPS = "1"

do_install() {
    install -D -m 0644 ${S}/apt.conf.sample ${D}${sysconfdir}/apt/apt.conf.sample
}
