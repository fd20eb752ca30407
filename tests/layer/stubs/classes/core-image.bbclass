# SPDX-License-Identifier: MIT
# Stands for the class of oe-core.
IMAGE_BASENAME ?= "${PN}"
IMAGE_FSTYPES ?= "tar"
do_image_wic() {
    :
}
do_image_qa() {
    :
}
do_image_complete() {
    :
}
addtask image_wic
addtask image_qa
addtask image_complete before do_build
IMAGE_CMD:wic = "wic create"
IMAGE_CLASSES ??= ""
inherit_defer ${IMAGE_CLASSES}
