# SPDX-License-Identifier: MIT
SUMMARY = "Init for an initramfs: read-only root with RAM over it"
DESCRIPTION = "PID 1 of an initramfs. It mounts the root read-only, stacks RAM on top with overlayfs and starts the \
real init. It needs no libc and no shell."

OVERLAYROOT_CARGO_PACKAGE = "overlayroot-init"

require overlayroot.inc

SRC_URI += "file://ofs"

# The init is alone in its address space and has no loader: addresses fixed at link time make it smaller.
# nooelint: oelint.vars.specific: architectures are overrides of every build
RUSTFLAGS:append:arm = " -Crelocation-model=static"
# Without the last option repeated code becomes functions, which gzip does not need.
RUSTFLAGS:append:aarch64 = " -Crelocation-model=static -Cllvm-args=-enable-machine-outliner=never"
RUSTFLAGS:append:x86-64 = " -Crelocation-model=static"
# Thumb code is a quarter smaller. oe-core's own Rust makes it anyway for machines that are tuned for it; others know only
# ARM code for this target. rustc warns that it may call the option otherwise one day.
RUSTFLAGS:append:armv7a = " -Ctarget-feature=+thumb-mode"
RUSTFLAGS:append:armv7ve = " -Ctarget-feature=+thumb-mode"

do_install() {
    install -D -m 0755 ${OVERLAYROOT_CARGO_OUTPUT}/overlayroot-init ${D}/init
    # For those who keep oe-core's initramfs-framework: the same program, started by a module of it.
    install -D -m 0755 ${OVERLAYROOT_CARGO_OUTPUT}/overlayroot-init ${D}${base_sbindir}/overlayroot-init
    install -D -m 0755 ${OVERLAYROOT_UNPACKDIR}/ofs ${D}/init.d/89-ofs
}

# nooelint: oelint.var.order.SUMMARY: of another package
SUMMARY:initramfs-module-ofs = "initramfs-framework module that hands over to overlayroot's init"

PACKAGES =+ "initramfs-module-ofs"

# nooelint: oelint.var.filesoverride: nothing else is in it
FILES:${PN} = "/init"
# nooelint: oelint.var.filesoverride: the same
FILES:initramfs-module-ofs = "${base_sbindir}/overlayroot-init /init.d/89-ofs"

RDEPENDS:${PN} = "overlayroot-conf"
RDEPENDS:initramfs-module-ofs = "initramfs-framework-base overlayroot-conf"

# It has no dynamic section whose linker flags could be looked at.
# nooelint: oelint.vars.insaneskip: see above
INSANE_SKIP:${PN} += "ldflags"
# nooelint: oelint.vars.insaneskip: see above
INSANE_SKIP:initramfs-module-ofs += "already-stripped ldflags"
