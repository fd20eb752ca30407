# SPDX-License-Identifier: MIT
# Stands for any kernel recipe that takes fragments.
inherit kernel kernel-yocto
SRC_URI = "git://kernel"
