# SPDX-License-Identifier: MIT
"""OVERLAYROOT_BOOT = "extlinux": U-Boot reads extlinux.conf (its standard boot; oe-core's UBOOT_EXTLINUX).

The image writes the file itself, as that of oe-core's class comes with U-Boot and is the same for all images.
The initramfs has U-Boot's header, so that its checksum is looked at. There is one entry only: U-Boot tries
further ones when the first cannot be started, and a writable system must not come by itself.
"""

from . import boards, cmdline, layout, route_script

VARIABLE, TEXT_DEPENDS, FIRMWARE, TAKES_INITRAMFS = "IMAGE_BOOT_FILES", (), "", True

INITRAMFS = route_script.INITRAMFS
CONFIG = "extlinux/extlinux.conf"
# Read by hand only: sysboot DEVICE NUMBER:PARTITION any ADDRESS /extlinux/writable.conf
WRITABLE = "extlinux/writable.conf"

# Kernels that U-Boot tells apart by themselves.
KERNELS = ("zImage", "uImage", "Image", "Image.gz")


def claims(d) -> bool:
    """A machine that brings the file is started by it."""
    return boards.brings(d, CONFIG)


def _option(d, name: str) -> str:
    """A variable of oe-core's class, with the machine's first label as an override."""
    label = boards.words(d.getVar("UBOOT_EXTLINUX_LABELS"))[:1]
    own = d.getVar(f"UBOOT_EXTLINUX_{name}:{label[0]}") if label else None
    return own if own is not None else d.getVar(f"UBOOT_EXTLINUX_{name}") or ""


def _absolute(path: str) -> str:
    """../NAME, from the folder of the file, is /NAME."""
    return "/" + path.strip().removeprefix("../").lstrip("/")


def config(d, verity: str, overlayfs: str = "") -> str:
    """Text of extlinux.conf."""
    more = cmdline.without_root(_option(d, "KERNEL_ARGS")) + cmdline.consoles(d)
    lines = [
        "# Written with the image.",
        "DEFAULT overlayroot",
        "LABEL overlayroot",
        f"\tKERNEL /{kernel(d)}",
        f"\tINITRD /{INITRAMFS}",
    ]
    if tree := _option(d, "FDT"):
        lines.append(f"\tFDT {_absolute(tree)}")
    elif d.getVar("KERNEL_DEVICETREE"):
        lines.append(f"\tFDTDIR {_absolute(_option(d, 'FDTDIR') or '../')}")
    if overlays := _option(d, "FDTOVERLAYS"):
        lines.append(f"\tFDTOVERLAYS {' '.join(_absolute(name) for name in overlays.split())}")
    return "\n".join([*lines, f"\tAPPEND {cmdline.line(d, verity, more, overlayfs=overlayfs)}", ""])


def kernel(d) -> str:
    """The kernel that is started."""
    return boards.kernel(d, KERNELS)


def files(d) -> dict:
    """The initramfs."""
    return {INITRAMFS: layout.initramfs_file(d) + ".u-boot"}


def texts(d, verity: str) -> dict:
    """The file, and one like it for a writable system, which only a hand at U-Boot's prompt starts."""
    return {CONFIG: config(d, verity), WRITABLE: config(d, verity, "no")}


def depends(d) -> list:
    """The initramfs."""
    return [f"{d.getVar('OVERLAYROOT_INITRAMFS')}:do_image_complete"]


def replaced(_d) -> list:
    """The machine's own file."""
    return [CONFIG]


def kernels(d) -> list:
    """One."""
    return [(kernel(d), kernel(d))]


def plain(_d) -> list:
    """None: extlinux.conf brings the initramfs."""
    return []


def card(_found) -> list:
    """Nothing beyond what every way looks at."""
    return []


def problems(d) -> list:
    """What is wrong, by the configuration: first what comes first."""
    if not kernel(d):
        kind = " ".join(boards.kernel_types(d)) or "of no type"
        return [
            f"U-Boot starts {', '.join(KERNELS)} by extlinux.conf, and the kernel of {d.getVar('MACHINE')} "
            f"is {kind}: {boards.bundle_remedy(d)}"
        ]
    if not claims(d) and not boards.is_known(d):
        return boards.unknown(d, "reads extlinux.conf of its card")
    return boards.other_files(d, kernel(d))
