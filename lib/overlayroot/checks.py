# SPDX-License-Identifier: MIT
"""Whether an image can protect its root: what a build looks at before an image leaves it.

Each check returns messages; an empty list means that nothing is wrong.
"""

import pathlib
import re

# Where the booted system shows the real root (docs/boot-flow.md).
LOWER = "/mnt/root-RO"
WRITABLE_REMOUNT = re.compile(r"\bmount\b.*\bremount\b.*\brw\b|\bmount\b.*\brw\b.*\bremount\b")


def fstab(text: str, roots: set) -> list:
    """Lines that would mount the real root writable a second time.

    `roots` are the ways in which the file may name the root partition. The entry for `/` is none of them:
    the init leaves it out of the copy that a protected system reads.
    """
    messages = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if len(fields) < 4 or fields[0].startswith("#"):
            continue
        device, where, _, options = fields[:4]
        if where == "/" or (device not in roots and where != LOWER) or "ro" in options.split(","):
            continue
        messages.append(
            f"/etc/fstab line {number} mounts the real root writable on {where}: {line.strip()}; "
            "take it out, or add the option ro"
        )
    return messages


def inittab(text: str) -> list:
    """Entries that remount a root writable, which is for nothing on an overlay and wrong without one."""
    return [
        f"/etc/inittab line {number} remounts the root writable: {line.strip()}; take it out"
        for number, line in enumerate(text.splitlines(), 1)
        if not line.lstrip().startswith("#") and WRITABLE_REMOUNT.search(line)
    ]


def rootfs(folder: str, roots: set) -> list:
    """What is wrong in the files of a root file system."""

    top = pathlib.Path(folder)

    def read(name: str) -> str:
        path = top / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    messages = fstab(read("etc/fstab"), roots) + inittab(read("etc/inittab"))
    inits = ("sbin/init", "etc/init", "bin/init")
    if not any((top / name).is_symlink() or (top / name).exists() for name in inits):
        messages.append(f"no init in the image (/{', /'.join(inits)}): nothing could be started")
    return messages


def initramfs(path: str, most: str) -> list:
    """Whether an initramfs is missing, or larger than INITRAMFS_MAXSIZE (KiB; empty: no limit)."""
    if not pathlib.Path(path).is_file():
        return [
            f"{path} is missing: the recipe that OVERLAYROOT_INITRAMFS names has to make it "
            '(IMAGE_FSTYPES = "cpio.gz.u-boot" and IMAGE_NAME_SUFFIX = "")'
        ]
    if not most:
        return []
    size = pathlib.Path(path).stat().st_size
    if size <= int(most) * 1024:
        return []
    return [f"{path} has {size} bytes, more than INITRAMFS_MAXSIZE = {most} KiB"]


def kernel(config: str, d) -> list:
    """What the final .config of a kernel lacks for this image's root, by the fragments of this layer."""
    from . import kconfig

    version, _ = kconfig.read_config(config)
    old = kconfig.is_old(".".join(map(str, version)))
    names = kconfig.fragments(d.getVar("OVERLAYROOT_ROOTFS"), d.getVar("OVERLAYROOT_VERITY") == "1", old)
    files = [kconfig.fragments_folder() / name for name in names]
    return kconfig.check(config, files, modules=d.getVar("OVERLAYROOT_KERNEL_MODULES") == "1")
