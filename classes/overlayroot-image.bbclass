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
OVERLAYROOT_ROOT_UUID = "${@overlayroot.layout.root_uuid(d)}"
OVERLAYROOT_ROOT_UUID[doc] = "Identity of the root partition in our layout with a GPT; derived."
OVERLAYROOT_WKS_EFI = "${@overlayroot.route_efi.source_parameters(d)}"
OVERLAYROOT_WKS_EFI[doc] = "Parameters of wic's plugin bootimg-efi in our layout; derived."
OVERLAYROOT_WKS_DATA = "${@overlayroot.layout.data_partition(d)}"
OVERLAYROOT_WKS_DATA[doc] = "Line of the data partition in our layouts; derived."
# BitBake looks into functions of Python modules, but not at what else is in a module.
do_write_wks_template[file-checksums] += "${OVERLAYROOT_LAYERDIR}/lib/overlayroot/layout.py:True"
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
    overlayroot.routes.write_texts(d, d.getVar("OVERLAYROOT_VERITY_DIR"), overlayroot.layout.root_hash(d))
}
do_image_wic[prefuncs] += "${@'overlayroot_verity_env' if overlayroot.layout.is_verified(d) else ''}"

# --- The boot partition: what the way to boot (OVERLAYROOT_BOOT, lib/overlayroot/routes.py) has there.
OVERLAYROOT_MACHINE_BOOT_FILES := "${@d.getVar('IMAGE_BOOT_FILES') or ''}"
OVERLAYROOT_MACHINE_BOOT_FILES[doc] = "The boot files of the machine's own configuration, which tell how it boots; internal."
OVERLAYROOT_BOOT_FILES = "${@overlayroot.routes.boot_files(d, 'IMAGE_BOOT_FILES')}"
OVERLAYROOT_BOOT_FILES[doc] = "What the class adds to IMAGE_BOOT_FILES; derived."
# BitBake looks into functions of Python modules, but not from one module into another: the values count.
OVERLAYROOT_BOOT_FILES[vardepvalue] = "${OVERLAYROOT_BOOT_FILES}"
OVERLAYROOT_REPLACED_FILES = "${@overlayroot.routes.replaced(d)}"
OVERLAYROOT_REPLACED_FILES[doc] = "What the class takes out of IMAGE_BOOT_FILES, for files of its own; derived."
OVERLAYROOT_REPLACED_FILES[vardepvalue] = "${OVERLAYROOT_REPLACED_FILES}"

IMAGE_BOOT_FILES:remove = "${OVERLAYROOT_REPLACED_FILES}"
IMAGE_BOOT_FILES:append = " ${OVERLAYROOT_BOOT_FILES}"
OVERLAYROOT_EFI_BOOT_FILES = "${@overlayroot.routes.boot_files(d, 'IMAGE_EFI_BOOT_FILES')}"
OVERLAYROOT_EFI_BOOT_FILES[doc] = "What the class adds to IMAGE_EFI_BOOT_FILES, of wic's plugin bootimg-efi; derived."
OVERLAYROOT_EFI_BOOT_FILES[vardepvalue] = "${OVERLAYROOT_EFI_BOOT_FILES}"
# nooelint: oelint.vars.mispell: of wic
IMAGE_EFI_BOOT_FILES:append = " ${OVERLAYROOT_EFI_BOOT_FILES}"
# The command line is a part of a unified kernel image.
UKI_CMDLINE = "${@overlayroot.route_efi.uki_line(d)}"
# Nor is the recipe of that script needed, which fetches all of U-Boot.
WKS_FILE_DEPENDS:remove = "${@'u-boot-script-boundary' if d.getVar('OVERLAYROOT_BOOT') == 'script' else ''}"

# Where wic makes no card, who makes one finds all in the deploy folder.
OVERLAYROOT_BOOT_DEPENDS = "${@overlayroot.routes.depends(d)}"
OVERLAYROOT_BOOT_DEPENDS[doc] = "Tasks that have to be done before the image is complete; derived."
do_image_complete[depends] += "${OVERLAYROOT_BOOT_DEPENDS}"
OVERLAYROOT_WIC_DEPENDS = "${@overlayroot.layout.wic_depends(d)} ${OVERLAYROOT_BOOT_DEPENDS}"
OVERLAYROOT_WIC_DEPENDS[doc] = "Tasks that have to be done before wic; derived."
do_image_wic[depends] += "${OVERLAYROOT_WIC_DEPENDS}"

# Files that are written with the image: overlayroot.env for the boot script, and the like.
python do_overlayroot_env() {
    overlayroot.routes.write_texts(d, d.getVar("OVERLAYROOT_ENV_DIR"))
}
OVERLAYROOT_ENV_DIR = "${WORKDIR}/overlayroot-env"
OVERLAYROOT_ENV_DIR[doc] = "Where these files are made; internal."
do_overlayroot_env[doc] = "Writes overlayroot.env, or what it is called where it is not a boot script that boots, for the boot partition"
do_overlayroot_env[cleandirs] = "${OVERLAYROOT_ENV_DIR}"
do_overlayroot_env[depends] += "${@overlayroot.routes.text_depends(d)}"
do_overlayroot_env[vardeps] += "OVERLAYROOT_TEXTS"
OVERLAYROOT_TEXTS = "${@overlayroot.routes.hashed_texts(d)}"
OVERLAYROOT_TEXTS[doc] = "What these files hold, for the hash of the task; derived."
OVERLAYROOT_TEXTS[vardepvalue] = "${OVERLAYROOT_TEXTS}"
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
    messages += overlayroot.routes.in_root(d)
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
        ${OVERLAYROOT_WIC_OPTIONS} "$1" 2>&1) ||
        bbfatal "$message"
}
OVERLAYROOT_WIC_OPTIONS = "${@overlayroot.routes.wic_options(d)}"
OVERLAYROOT_WIC_OPTIONS[doc] = "What the finished card is held against; derived."
OVERLAYROOT_WIC_OPTIONS[vardepvalue] = "${OVERLAYROOT_WIC_OPTIONS}"
do_image_wic[file-checksums] += "${OVERLAYROOT_LAYERDIR}/lib/overlayroot/*.py:True"
do_image_wic[prefuncs] += "overlayroot_check_deployed"
do_image_complete[prefuncs] += "overlayroot_check_deployed"
python overlayroot_check_deployed() {
    import os

    messages = overlayroot.routes.not_deployed(d)
    for name in overlayroot.routes.of(d).files(d).values():
        if name.startswith(d.getVar("OVERLAYROOT_INITRAMFS")):
            path = os.path.join(d.getVar("DEPLOY_DIR_IMAGE"), name)
            messages += overlayroot.checks.initramfs(path, d.getVar("INITRAMFS_MAXSIZE") or "")
    if messages:
        bb.fatal("\n".join(messages))
}
