# SPDX-License-Identifier: MIT
SUMMARY = "See, keep, undo and switch what overlayroot's init does, on the running board"
DESCRIPTION = "Command-line tool: the report of this boot in words, settings of the next one, changes that are to stay."

OVERLAYROOT_CARGO_PACKAGE = "overlayrootctl"

require overlayroot.inc

do_install() {
    install -D -m 0755 ${OVERLAYROOT_CARGO_OUTPUT}/overlayrootctl ${D}${sbindir}/overlayrootctl
}

# The settings of the next boot are in U-Boot's environment.
RRECOMMENDS:${PN} = "libubootenv-bin"
