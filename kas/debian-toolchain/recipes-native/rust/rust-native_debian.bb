# SPDX-License-Identifier: MIT
SUMMARY = "Debian's Rust compiler, with the standard library for the host and for 32-bit ARM"
require debian-rust.inc

SRC_URI = " \
    file://rustc.deb;subdir=rust \
    file://libstd-rust.deb;subdir=rust \
    file://libstd-rust-dev.deb;subdir=rust \
    file://libstd-rust-dev-armhf.deb;subdir=rust \
    file://libllvm.deb;subdir=rust \
"

do_install() {
    install_program rustc
    cp -a --no-preserve=ownership ${S}/usr/lib ${D}${libdir}/debian-rust/usr/
}
