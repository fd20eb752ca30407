# SPDX-License-Identifier: MIT
SUMMARY = "Debian's cargo"
require debian-rust.inc

SRC_URI = "file://cargo.deb;subdir=rust"

do_install() {
    install_program cargo
}
