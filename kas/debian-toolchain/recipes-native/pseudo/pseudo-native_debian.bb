# SPDX-License-Identifier: MIT
SUMMARY = "Debian's pseudo: files get owners and modes without root"
LICENSE = "LGPL-2.1-only"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/LGPL-2.1-only;md5=1a6d268fd218675ffea8be556788b780"

PROVIDES += "virtual/fakeroot-native"

FILESEXTRAPATHS:prepend := "${DEBIAN_TOOLCHAIN_DIR}:"
SRC_URI = "file://pseudo.deb;subdir=pseudo file://libpseudo.deb;subdir=pseudo"
S = "${OVERLAYROOT_UNPACKDIR}/pseudo"

inherit native

INHIBIT_DEFAULT_DEPS = "1"
INHIBIT_SYSROOT_STRIP = "1"

do_install() {
    install -D -m 0755 ${S}/usr/bin/pseudo ${D}${bindir}/pseudo
    # bitbake.conf looks in lib; pseudo adds the word size.
    install -D -m 0755 ${S}/usr/lib/x86_64-linux-gnu/pseudo/libpseudo.so ${D}${prefix}/lib/pseudo/lib64/libpseudo.so
}
