# SPDX-License-Identifier: MIT
SUMMARY = "See, keep, undo and switch what overlayroot's init does, on the running board"
SUMMARY:${PN}-watch = "Warns when the RAM layer of a protected system fills"
DESCRIPTION = "Command-line tool: the report of this boot in words, settings of the next one, changes that are to stay. \
A service fails visibly where a board should be protected and is not, another one warns when the RAM layer fills."

OVERLAYROOT_CARGO_PACKAGE = "overlayrootctl"

require overlayroot.inc

# Of the crates that are linked in, `similar` is under the Apache licence only; the others may be had under MIT's.
# nooelint: oelint.vars.notneededspace: it parts the licences
LICENSE .= " & Apache-2.0"
LIC_FILES_CHKSUM += "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

SRC_URI += "file://rust/overlayrootctl/files"

inherit systemd update-rc.d

do_install() {
    files=${S}/overlayrootctl/files
    install -D -m 0755 ${OVERLAYROOT_CARGO_OUTPUT}/overlayrootctl ${D}${sbindir}/overlayrootctl
    install -D -m 0644 $files/overlayroot-login.sh ${D}${sysconfdir}/profile.d/overlayroot-login.sh
    for name in check watch; do
        install -D -m 0755 $files/overlayroot-$name.init ${D}${sysconfdir}/init.d/overlayroot-$name
        install -D -m 0644 $files/overlayroot-$name.service ${D}${systemd_system_unitdir}/overlayroot-$name.service
        # The units name the folder that most distributions have.
        sed -i 's,/usr/sbin/,${sbindir}/,' ${D}${sysconfdir}/init.d/overlayroot-$name \
            ${D}${systemd_system_unitdir}/overlayroot-$name.service
    done
    # Written by the program itself, which does not run here.
    install -d ${D}${mandir}/man8
    install -m 0644 $files/man/*.8 ${D}${mandir}/man8/
    install -D -m 0644 $files/manual/overlayroot.conf.5 ${D}${mandir}/man5/overlayroot.conf.5
    install -D -m 0644 $files/manual/overlayroot.7 ${D}${mandir}/man7/overlayroot.7
    install -D -m 0644 $files/completions/bash ${D}${datadir}/bash-completion/completions/overlayrootctl
    install -D -m 0644 $files/completions/fish ${D}${datadir}/fish/vendor_completions.d/overlayrootctl.fish
    install -D -m 0644 $files/completions/zsh ${D}${datadir}/zsh/site-functions/_overlayrootctl
}

# A package can start one script of sysvinit: the watch has one of its own.
PACKAGES =+ "${PN}-watch"
# Names that IMAGE_FEATURES bash-completion-pkgs and zsh-completion-pkgs look for. The pages are in ${PN}-doc.
PACKAGES =+ "${PN}-bash-completion ${PN}-fish-completion ${PN}-zsh-completion"
FILES:${PN}-bash-completion += "${datadir}/bash-completion"
FILES:${PN}-fish-completion += "${datadir}/fish"
FILES:${PN}-zsh-completion += "${datadir}/zsh"
FILES:${PN}-watch += "${sysconfdir}/init.d/overlayroot-watch ${systemd_system_unitdir}/overlayroot-watch.service"
RDEPENDS:${PN}-watch = "${PN}"

SYSTEMD_PACKAGES = "${PN} ${PN}-watch"
SYSTEMD_SERVICE:${PN} = "overlayroot-check.service"
SYSTEMD_SERVICE:${PN}-watch = "overlayroot-watch.service"
INITSCRIPT_PACKAGES = "${PN} ${PN}-watch"
INITSCRIPT_NAME:${PN} = "overlayroot-check"
INITSCRIPT_PARAMS:${PN} = "start 90 2 3 4 5 ."
INITSCRIPT_NAME:${PN}-watch = "overlayroot-watch"
INITSCRIPT_PARAMS:${PN}-watch = "defaults 90"

# The settings of the next boot are in U-Boot's environment.
RRECOMMENDS:${PN} = "libubootenv-bin"
