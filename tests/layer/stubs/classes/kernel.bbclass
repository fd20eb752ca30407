# SPDX-License-Identifier: MIT
# Stands for the class of oe-core: tasks in their order.
LINUX_VERSION ?= "6.1.22"
S = "${WORKDIR}/linux"
B = "${WORKDIR}/build"
KERNEL_CONFIG_COMMAND ?= "make -C ${S} O=${B} olddefconfig"
do_configure() {
    ${KERNEL_CONFIG_COMMAND}
}
do_compile() {
    :
}
do_deploy() {
    :
}
addtask configure
addtask compile after do_configure
addtask deploy after do_compile
