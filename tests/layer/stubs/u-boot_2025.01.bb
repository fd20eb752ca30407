# SPDX-License-Identifier: MIT
# Stands for a U-Boot recipe of oe-core's u-boot.inc: tasks in their order.
UBOOT_INITIAL_ENV ?= "${PN}-initial-env"
UBOOT_MACHINE = "mine_defconfig"
SRC_URI = "git://u-boot"
S = "${WORKDIR}/git"
B = "${WORKDIR}/build"
# Of logging.bbclass.
bbfatal() {
    echo "$*" >&2
    exit 1
}
do_unpack() {
    :
}
do_configure() {
    :
}
do_compile() {
    :
}
addtask unpack
addtask configure after do_unpack
addtask compile after do_configure
