# SPDX-License-Identifier: MIT
# Stands for a kernel recipe that takes no fragments.
inherit kernel
SRC_URI = "git://kernel"
