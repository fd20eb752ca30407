# SPDX-License-Identifier: MIT
SUMMARY = "What a system with a protected root has at hand"
DESCRIPTION = "The tool for the running board, and access to the environment of U-Boot."

# libubootenv's configuration comes from the U-Boot of the machine.
PACKAGE_ARCH = "${MACHINE_ARCH}"

inherit packagegroup features_check

REQUIRED_DISTRO_FEATURES = "overlayroot"

RDEPENDS:${PN} = "overlayrootctl overlayrootctl-watch"

# The settings of the next boot: fw_printenv, fw_setenv, and where they find the environment. The overlay module,
# for kernels that have it as one.
RRECOMMENDS:${PN} = "\
    libubootenv-bin \
    u-boot-default-env \
    kernel-module-overlay \
"
