# SPDX-License-Identifier: MIT
SUMMARY = "Debian's programs instead of those that OpenEmbedded-Core would compile"

PACKAGE_ARCH = "${MACHINE_ARCH}"

inherit packagegroup

RDEPENDS:${PN} = "base-files debian-userspace"
