# SPDX-License-Identifier: MIT
require ${@bb.utils.contains('DISTRO_FEATURES', 'overlayroot', 'recipes-bsp/u-boot/overlayroot-u-boot.inc', '', d)}
