# nooelint: oelint.var.mandatoryvar.SRC_URI: made of variables
# SPDX-License-Identifier: MIT
SUMMARY = "Defaults of the overlayroot initramfs"
DESCRIPTION = "overlayroot.conf, made of the OVERLAYROOT_ variables: what the init does when U-Boot and the \
kernel command line say nothing. Machine-specific, and what a BSP overrides."
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit features_check overlayroot-variables

REQUIRED_DISTRO_FEATURES = "overlayroot"

PACKAGE_ARCH = "${MACHINE_ARCH}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

python do_install() {
    import os

    folder = d.expand("${D}${sysconfdir}")
    bb.utils.mkdirhier(folder)
    with open(os.path.join(folder, "overlayroot.conf"), "w") as conf:
        conf.write(overlayroot.settings.conf_text(d))
}
do_install[vardeps] += "${@' '.join(name for name, *rest in overlayroot.settings.SETTINGS)}"
do_install[file-checksums] += "${OVERLAYROOT_LAYERDIR}/lib/overlayroot/settings.py:True"
