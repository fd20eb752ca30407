# SPDX-License-Identifier: MIT
"""OVERLAYROOT_BOOT = "fit": our boot.scr starts a FIT image that holds the initramfs.

oe-core makes it (kernel-fitimage, or kernel-fit-image in newer series) with INITRAMFS_IMAGE. U-Boot looks at
the hashes of kernel, device tree and initramfs, and at the signature where the BSP signs.
"""

from . import boards, fit, route_bundle, route_script

VARIABLE, TEXT_DEPENDS, FIRMWARE, TAKES_INITRAMFS = "IMAGE_BOOT_FILES", (), "", True

KERNEL = "fitImage"


def claims(d) -> bool:
    """A machine whose kernel is a FIT image, and that brings a boot.scr."""
    return is_fit(d) and route_script.claims(d)


def is_fit(d) -> bool:
    """Whether the kernel is a FIT image."""
    return boards.kernel_types(d)[:1] == [KERNEL]


def file(d) -> str:
    """Name in the deploy folder, as the classes of oe-core give it."""
    machine = d.getVar("MACHINE")
    name = d.getVar("INITRAMFS_IMAGE_NAME") or f"{d.getVar('INITRAMFS_IMAGE') or ''}-{machine}"
    return f"{KERNEL}-{name}-{d.getVar('KERNEL_FIT_LINK_NAME') or machine}"


def files(d) -> dict:
    """The script, under each of its names, and the FIT image."""
    names = boards.words(d.getVar("OVERLAYROOT_BOOT_SCRIPTS"))
    return {name: route_script.SCRIPT for name in names} | {KERNEL: file(d)}


def texts(d, verity: str) -> dict:
    """overlayroot.env of the script, but that the FIT image is the kernel, and has the device tree in it."""
    lines = route_script.texts(d, verity)[route_script.ENVIRONMENT].splitlines()
    kept = [line for line in lines if not line.startswith(("ofs_kernel=", "ofs_fdt="))]
    at = next(number for number, line in enumerate(kept) if line.startswith("ofs_default_size"))
    kept.insert(at + 1, f"ofs_kernel={KERNEL}")
    return {route_script.ENVIRONMENT: "\n".join([*kept, ""])}


def depends(d) -> list:
    """The script; newer series make the FIT image in a recipe of its own."""
    own = "kernel-fit-extra-artifacts" in boards.words(d.getVar("KERNEL_CLASSES"))
    return ["overlayroot-boot-script:do_deploy", *(["linux-yocto-fitimage:do_deploy"] if own else [])]


def replaced(d) -> list:
    """The machine's own script, and the FIT image without an initramfs."""
    return [*route_script.replaced(d), KERNEL]


def kernels(d) -> list:
    """One."""
    return [(KERNEL, file(d))]


def plain(_d) -> list:
    """The one without an initramfs is found by its contents."""
    return []


def card(found: dict) -> list:
    """Whether each configuration in it has the initramfs."""
    return [
        line for name, data in found.items() if name.lower() == KERNEL.lower() for line in fit.messages(data)
    ]


def problems(d) -> list:
    """What is wrong, by the configuration: first what comes first."""
    machine, messages = d.getVar("MACHINE"), route_bundle.no_initramfs(d, "fit")
    if d.getVar("INITRAMFS_IMAGE_BUNDLE") == "1":
        messages.append(
            'INITRAMFS_IMAGE_BUNDLE = "1" puts the initramfs into the kernel: OVERLAYROOT_BOOT = "bundle"'
        )
    if d.getVar("TARGET_ARCH") not in route_script.KERNELS:
        messages.append(f"our boot script starts kernels of ARM, and {machine} is {d.getVar('TARGET_ARCH')}")
    if not boards.is_known(d) and not route_script.claims(d):
        messages += boards.unknown(d, "runs boot.scr of its card")
    return messages or boards.other_files(d, KERNEL)
