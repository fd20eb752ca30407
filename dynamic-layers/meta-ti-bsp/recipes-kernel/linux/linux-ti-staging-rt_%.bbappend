# SPDX-License-Identifier: MIT
require ${@bb.utils.contains('DISTRO_FEATURES', 'overlayroot', 'recipes-kernel/linux/overlayroot-kernel.inc', '', d)}
