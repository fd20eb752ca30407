# SPDX-License-Identifier: MIT
# For IMAGE_CLASSES: lets an image recipe ask for protection by IMAGE_FEATURES += "overlayroot", without
# inheriting anything itself.

IMAGE_FEATURES[validitems] += "overlayroot"

inherit_defer ${@bb.utils.contains('IMAGE_FEATURES', 'overlayroot', 'overlayroot-image', '', d)}
