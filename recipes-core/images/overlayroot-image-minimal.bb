# SPDX-License-Identifier: MIT
SUMMARY = "Example: the smallest system of OpenEmbedded with a protected root"

require recipes-core/images/core-image-minimal.bb

inherit overlayroot-image
