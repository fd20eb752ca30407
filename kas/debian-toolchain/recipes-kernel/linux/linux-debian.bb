# SPDX-License-Identifier: MIT
SUMMARY = "Debian's kernel for 32-bit ARM, as its package has it"
DESCRIPTION = "Drivers are modules: the initramfs has to carry those that lead to the root."
SECTION = "kernel"
LICENSE = "GPL-2.0-only"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/GPL-2.0-only;md5=801f80980d171dd6425610833a22dbe6"

PROVIDES = "virtual/kernel"

FILESEXTRAPATHS:prepend := "${DEBIAN_TOOLCHAIN_DIR}:"
SRC_URI = "file://linux-image.deb;subdir=linux-image"
PV = "6"
S = "${OVERLAYROOT_UNPACKDIR}/linux-image"

inherit deploy kernel-module-split overlayroot-variables

INHIBIT_DEFAULT_DEPS = "1"
COMPATIBLE_HOST = "arm.*-linux"
PACKAGE_ARCH = "${MACHINE_ARCH}"

KERNEL_PACKAGE_NAME = "kernel"
KERNEL_VERSION = "${@debian_kernel_release(d)}"
KERNEL_VERSION[vardepvalue] = ""

# Modules that are kept, with those that they need; all of them would be some 4000 packages.
DEBIAN_KERNEL_MODULES ??= "${OVERLAYROOT_INITRAMFS_MODULES} fec spi-imx spi-nor imx2_wdt"

def debian_kernel_release(d):
    """Release of the unpacked kernel; nothing before do_unpack."""
    import pathlib

    found = sorted(pathlib.Path(d.getVar("S")).glob("usr/lib/modules/*"))
    return found[0].name if found else "unknown"

do_install() {
    release="${KERNEL_VERSION}"
    install -D -m 0644 "${S}/boot/vmlinuz-$release" "${D}/boot/zImage-$release"
    ln -s "zImage-$release" "${D}/boot/zImage"

    # depmod and modprobe read /lib/modules.
    ln -sfn usr/lib "${S}/lib"
    depmod --basedir "${S}" "$release"
    modules="${D}${nonarch_base_libdir}/modules/$release"
    install -d "$modules"
    install -m 0644 "${S}/usr/lib/modules/$release"/modules.builtin* "${S}/usr/lib/modules/$release/modules.order" "$modules/"
    for module in ${DEBIAN_KERNEL_MODULES}; do
        modprobe --dirname "${S}" --set-version "$release" --ignore-install --show-depends "$module" >module.list ||
            bbfatal "Debian's kernel has no module $module"
        while read -r word path rest; do
            [ "$word" = insmod ] || continue
            name="${path##*/modules/$release/}"
            name="${name%.xz}"
            [ ! -e "$modules/$name" ] || continue
            install -d "$modules/${name%/*}"
            # The init does not unpack modules.
            case "$path" in
            *.xz) xz --decompress --stdout "$path" >"$modules/$name" ;;
            *) install -m 0644 "$path" "$modules/$name" ;;
            esac
        done <module.list
    done
    depmod --basedir "${D}" "$release"
}
do_install[dirs] = "${B}"

do_deploy() {
    release="${KERNEL_VERSION}"
    install -m 0644 "${S}/boot/vmlinuz-$release" "${DEPLOYDIR}/zImage"
    for tree in ${KERNEL_DEVICETREE}; do
        file="${S}/usr/lib/linux-image-$release/$(basename "$tree")"
        [ -e "$file" ] || bbfatal "Debian's kernel has no $tree; take it out of KERNEL_DEVICETREE"
        install -m 0644 "$file" "${DEPLOYDIR}/"
    done
    install -m 0644 "${S}/boot/config-$release" "${DEPLOYDIR}/$(basename "${OVERLAYROOT_KERNEL_CONFIG}")"
}
addtask deploy after do_install before do_build

# What image recipes ask of a kernel recipe.
do_shared_workdir() {
    install -d "${STAGING_KERNEL_BUILDDIR}"
    echo "${KERNEL_VERSION}" >"${STAGING_KERNEL_BUILDDIR}/kernel-abiversion"
    install -m 0644 "${S}/boot/config-${KERNEL_VERSION}" "${STAGING_KERNEL_BUILDDIR}/.config"
}
do_shared_workdir[cleandirs] = "${STAGING_KERNEL_BUILDDIR}"
addtask shared_workdir after do_compile before do_install

emit_depmod_pkgdata() {
    install -d ${PKGDESTWORK}/kernel-depmod
    echo "${KERNEL_VERSION}" >${PKGDESTWORK}/kernel-depmod/kernel-abiversion
    install -m 0644 "${S}/boot/System.map-${KERNEL_VERSION}" "${PKGDESTWORK}/kernel-depmod/System.map-${KERNEL_VERSION}"
}
PACKAGEFUNCS += "emit_depmod_pkgdata"

PACKAGES = "kernel-image kernel-devicetree kernel-modules kernel-base"
PACKAGES_DYNAMIC += "^kernel-module-.*"
FILES:kernel-image = "/boot"
FILES:kernel-base = "${nonarch_base_libdir}/modules/*/modules.*"
ALLOW_EMPTY:kernel-devicetree = "1"
ALLOW_EMPTY:kernel-modules = "1"
RPROVIDES:kernel-base = "kernel-${KERNEL_VERSION}"
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_PACKAGE_DEBUG_SPLIT = "1"
