# SPDX-License-Identifier: MIT
# Stands for the recipe of oe-core.
IMAGE_INSTALL = "packagegroup-core-boot"
LICENSE = "MIT"
inherit core-image
