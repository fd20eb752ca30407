# SPDX-License-Identifier: MIT
# Turns an image recipe into one whose root is protected: inherit it. Variables and their meaning are in
# overlayroot-variables.bbclass and docs/variables.md; docs/integrate.md is a walk through.
#
# It adds the initramfs and the boot script to the boot partition, lays the card out, and fails the build when
# the image could not protect itself.

inherit features_check overlayroot-variables

REQUIRED_DISTRO_FEATURES:append = " overlayroot"

IMAGE_FEATURES[validitems] += "overlayroot"
# nooelint: oelint.vars.outofcontext: only images inherit this class
IMAGE_FEATURES += "overlayroot"
# It puts an init of its own before the real one, with another overlay.
IMAGE_FEATURES_CONFLICTS_overlayroot = "overlayfs-etc"

IMAGE_INSTALL:append = " packagegroup-overlayroot"

# --- The card.
IMAGE_FSTYPES:append = " ${OVERLAYROOT_IMAGE_FSTYPES}"
OVERLAYROOT_MACHINE_WKS := "${@d.getVar('WKS_FILES') or d.getVar('WKS_FILE') or ''}"
OVERLAYROOT_MACHINE_WKS[doc] = "The layout that the machine's own configuration names, which tells where U-Boot is; internal."
# Both: machines set one or the other.
WKS_FILE = "${OVERLAYROOT_WKS_FILE}"
WKS_FILES = "${WKS_FILE}"
# Series differ in where they look for layouts.
# nooelint: oelint.vars.inconspaces: colons part it
WKS_SEARCH_PATH:append = ":${OVERLAYROOT_LAYERDIR}/files/wic"
# Entries of wic's would mount the boot partition writable.
WIC_CREATE_EXTRA_ARGS:append = " --no-fstab-update"

OVERLAYROOT_WKS_ROOT = "${@overlayroot.layout.root_partition(d)}"
OVERLAYROOT_WKS_ROOT[doc] = "Source and options of the root partition in our layouts; derived."
OVERLAYROOT_WKS_DATA = "${@overlayroot.layout.data_partition(d)}"
OVERLAYROOT_WKS_DATA[doc] = "Line of the data partition in our layouts; derived."
# BitBake looks into functions of Python modules, but not at what else is in a module.
do_write_wks_template[file-checksums] += "${OVERLAYROOT_LAYERDIR}/lib/overlayroot/layout.py:True"
do_image_wic[file-checksums] += "${OVERLAYROOT_LAYERDIR}/lib/overlayroot/layout.py:True"
do_image_ext4[file-checksums] += "${OVERLAYROOT_LAYERDIR}/lib/overlayroot/layout.py:True"

# --- A root that is verified: the image type ofsverity is another one with its hash tree behind it.
CONVERSIONTYPES:append = " ofsverity"
# nooelint: oelint.vars.specific: the name of a conversion is an override
CONVERSION_CMD:ofsverity = "overlayroot_seal ${IMAGE_NAME}.${type}"
CONVERSION_DEPENDS_ofsverity = "cryptsetup-native"
# nooelint: oelint.vars.inconspaces, oelint.vars.mispell, oelint.vars.overrideappend, oelint.vars.specific: it begins with a blank, and is oe-core's
IMAGE_TYPEDEP:wic:append = "${@overlayroot.layout.sealed_type(d)}"
# nooelint: oelint.vars.inconspaces, oelint.vars.overrideappend, oelint.vars.specific: the same
EXTRA_IMAGECMD:ext4:append = "${@overlayroot.layout.ext4_options(d)}"
OVERLAYROOT_VERITY_DIR = "${WORKDIR}/overlayroot-verity"
OVERLAYROOT_VERITY_DIR[doc] = "Where wic finds the sealed root and its root hash; internal."
overlayroot_seal() {
    install -d ${OVERLAYROOT_VERITY_DIR}
    message=$(python3 ${OVERLAYROOT_LAYERDIR}/lib/overlayroot/verity.py --env "$1.ofsverity.env" "$1" "$1.ofsverity" 2>&1) ||
        bbfatal "$message"
    ln -f "$1.ofsverity" ${OVERLAYROOT_VERITY_DIR}/root.img
    ln -f "$1.ofsverity.env" ${OVERLAYROOT_VERITY_DIR}/verity.env
    # oe-core makes such names, without a date, only for images.
    [ -z "${IMAGE_LINK_NAME}" ] || ln -sf "$1.ofsverity.env" "${IMAGE_LINK_NAME}${1#${IMAGE_NAME}}.ofsverity.env"
}
do_image_ext4[file-checksums] += "${OVERLAYROOT_LAYERDIR}/lib/overlayroot/verity.py:True"
do_image_squashfs[file-checksums] += "${OVERLAYROOT_LAYERDIR}/lib/overlayroot/verity.py:True"
do_image_erofs[file-checksums] += "${OVERLAYROOT_LAYERDIR}/lib/overlayroot/verity.py:True"
python overlayroot_verity_env() {
    overlayroot.layout.write_verified_environment(d)
}
do_image_wic[prefuncs] += "${@'overlayroot_verity_env' if overlayroot.layout.is_verified(d) else ''}"

# --- The boot partition.
OVERLAYROOT_ENV_FILE = "${IMAGE_BASENAME}-${MACHINE}.overlayroot.env"
OVERLAYROOT_ENV_FILE[doc] = "Name of this image's overlayroot.env in the deploy folder; derived."
OVERLAYROOT_BOOT_FILES = "${@overlayroot.layout.boot_files(d)}"
OVERLAYROOT_BOOT_FILES[doc] = "What the class adds to IMAGE_BOOT_FILES; derived."

IMAGE_BOOT_FILES:remove = "${@'boot.scr-${MACHINE};boot.scr' if d.getVar('OVERLAYROOT_BOOT') == 'script' else ''}"
IMAGE_BOOT_FILES:append = " ${OVERLAYROOT_BOOT_FILES}"
# Nor is the recipe of that script needed, which fetches all of U-Boot.
WKS_FILE_DEPENDS:remove = "${@'u-boot-script-boundary' if d.getVar('OVERLAYROOT_BOOT') == 'script' else ''}"

OVERLAYROOT_WIC_DEPENDS = "${@overlayroot.layout.wic_depends(d)}"
OVERLAYROOT_WIC_DEPENDS[doc] = "Tasks that have to be done before wic; derived."
do_image_wic[depends] += "${OVERLAYROOT_WIC_DEPENDS}"
# Where wic makes no card, who makes one finds all in the deploy folder.
OVERLAYROOT_BOOT_DEPENDS = "${@overlayroot.layout.boot_depends(d)}"
OVERLAYROOT_BOOT_DEPENDS[doc] = "Tasks that have to be done before the image is complete; derived."
do_image_complete[depends] += "${OVERLAYROOT_BOOT_DEPENDS}"

# overlayroot.env: what the boot script has to know of this image.
python do_overlayroot_env() {
    import os

    folder = d.getVar("OVERLAYROOT_ENV_DIR")
    with open(os.path.join(folder, d.getVar("OVERLAYROOT_ENV_FILE")), "w") as file:
        file.write(overlayroot.layout.environment(d))
}
OVERLAYROOT_ENV_DIR = "${WORKDIR}/overlayroot-env"
OVERLAYROOT_ENV_DIR[doc] = "Where overlayroot.env is made; internal."
do_overlayroot_env[doc] = "Writes overlayroot.env for the boot partition"
do_overlayroot_env[cleandirs] = "${OVERLAYROOT_ENV_DIR}"
do_overlayroot_env[sstate-inputdirs] = "${OVERLAYROOT_ENV_DIR}"
do_overlayroot_env[sstate-outputdirs] = "${DEPLOY_DIR_IMAGE}"
do_overlayroot_env[stamp-extra-info] = "${MACHINE_ARCH}"
SSTATETASKS += "do_overlayroot_env"
addtask overlayroot_env before do_image_wic do_image_complete

python do_overlayroot_env_setscene () {
    sstate_setscene(d)
}
addtask do_overlayroot_env_setscene

# --- The root file system.
ROOTFS_POSTPROCESS_COMMAND += "overlayroot_rootfs"
overlayroot_rootfs() {
    # Mount points, for roots that cannot be written (the init makes them where it can).
    install -d ${IMAGE_ROOTFS}/mnt/root-RO ${IMAGE_ROOTFS}/mnt/root-RW
    if [ -n "${OVERLAYROOT_DATA_SIZE}" ]; then
        install -d ${IMAGE_ROOTFS}${OVERLAYROOT_DATA_MOUNT}
        # nofail: the board boots also when nothing can repair the partition.
        echo "LABEL=ofs-data ${OVERLAYROOT_DATA_MOUNT} ext4 noatime,nofail 0 2" >>${IMAGE_ROOTFS}${sysconfdir}/fstab
    fi
    if [ -n "${OVERLAYROOT_FW_ENV_CONFIG}" ]; then
        printf '%b\n' "${OVERLAYROOT_FW_ENV_CONFIG}" >${IMAGE_ROOTFS}${sysconfdir}/fw_env.config
    fi
    # libubootenv falls back to this name; U-Boot recipes prefix it with their own.
    if [ ! -e ${IMAGE_ROOTFS}${sysconfdir}/u-boot-initial-env ]; then
        for file in ${IMAGE_ROOTFS}${sysconfdir}/u-boot-*-initial-env; do
            [ ! -e "$file" ] || ln -sf "$(basename "$file")" ${IMAGE_ROOTFS}${sysconfdir}/u-boot-initial-env
        done
    fi
}

# --- Checks: an image that could not protect itself does not leave the build.
IMAGE_QA_COMMANDS += "overlayroot_check_rootfs overlayroot_check_kernel"

python overlayroot_check_rootfs() {
    root = d.getVar("OVERLAYROOT_ROOT")
    messages = overlayroot.checks.rootfs(d.getVar("IMAGE_ROOTFS"), {root, "/dev/root", "LABEL=rootfs"})
    messages += overlayroot.bundle.in_root(d)
    if messages:
        bb.fatal("\n".join(messages))
    if warning := overlayroot.boards.unproven(d):
        bb.warn(warning)
}

python overlayroot_check_kernel() {
    import os

    config = d.getVar("OVERLAYROOT_KERNEL_CONFIG")
    if not os.path.exists(config):
        bb.fatal(
            "%s is missing, so nobody knows whether the kernel can protect the root. A bbappend of %s has to require "
            "recipes-kernel/linux/overlayroot-kernel.inc (docs/integrate.md), or OVERLAYROOT_KERNEL_CONFIG has to name "
            "the final .config." % (config, d.getVar("PREFERRED_PROVIDER_virtual/kernel") or "the kernel recipe"))
    lacks = overlayroot.checks.kernel(config, d)
    if lacks:
        bb.fatal("The kernel could not protect the root. %s lacks:\n  %s" % (config, "\n  ".join(lacks)))
}
do_image_qa[depends] += "virtual/kernel:do_deploy"
# oe-core calls them by name: without this a changed setting would not run them again.
do_image_qa[vardeps] += "overlayroot_check_rootfs overlayroot_check_kernel"
do_image_qa[file-checksums] += "\
    ${OVERLAYROOT_LAYERDIR}/lib/overlayroot/boards.py:True \
    ${OVERLAYROOT_LAYERDIR}/lib/overlayroot/checks.py:True \
    ${OVERLAYROOT_LAYERDIR}/lib/overlayroot/content.py:True \
    ${OVERLAYROOT_LAYERDIR}/lib/overlayroot/kconfig.py:True \
    ${OVERLAYROOT_LAYERDIR}/recipes-kernel/linux/overlayroot-kernel:True \
"

# The image is looked into once more when it is done, whoever laid it out.
IMAGE_CMD:wic:append() {
    overlayroot_finish_wic "$out.wic"
}
overlayroot_finish_wic() {
    message=$(PYTHONPATH=${OVERLAYROOT_LAYERDIR}/lib python3 -m overlayroot.wic \
        ${@overlayroot.layout.wic_options(d)} ${@overlayroot.bundle.wic_options(d)} "$1" 2>&1) ||
        bbfatal "$message"
}
do_image_wic[file-checksums] += "\
    ${OVERLAYROOT_LAYERDIR}/lib/overlayroot/bootpart.py:True \
    ${OVERLAYROOT_LAYERDIR}/lib/overlayroot/content.py:True \
    ${OVERLAYROOT_LAYERDIR}/lib/overlayroot/wic.py:True \
"
do_image_wic[prefuncs] += "overlayroot_check_deployed"
do_image_complete[prefuncs] += "overlayroot_check_deployed"
python overlayroot_check_deployed() {
    import os

    messages = overlayroot.bundle.not_deployed(d)
    if d.getVar("OVERLAYROOT_BOOT") == "script":
        path = os.path.join(d.getVar("DEPLOY_DIR_IMAGE"), overlayroot.layout.initramfs_file(d))
        messages += overlayroot.checks.initramfs(path, d.getVar("INITRAMFS_MAXSIZE") or "")
    if messages:
        bb.fatal("\n".join(messages))
}
