# SPDX-License-Identifier: MIT
"""The kernel's command line, where it is a line in a file and no boot script makes it.

The root goes to the init alone, as ofs-root=. The empty root= at the end takes back any other one, so that a
kernel that cannot unpack the initramfs never mounts the root by itself: it panics, and panic= starts the
board again.
"""

# Words that would let the kernel mount the root, or wait for it without an end.
ROOT = ("root=", "rootwait", "rootdelay", "rootflags=", "rootfstype=", "rw", "ro", "resume=")


def without_root(text: str | None) -> list:
    """Words of a BSP's command line that stay: all that are not about the root."""
    return [
        word
        for word in (text or "").split()
        if not any(word == name or (name.endswith("=") and word.startswith(name)) for name in ROOT)
        and not word.startswith(("rootwait=", "rootdelay="))
    ]


def consoles(d) -> list:
    """console= for each of SERIAL_CONSOLES ("115200;ttyS0 ..."), the first one last: it is /dev/console."""
    found = [one.partition(";") for one in (d.getVar("SERIAL_CONSOLES") or "").split()]
    return [f"console={name},{speed}" for speed, _, name in reversed(found) if name]


def line(d, verity: str = "", more=(), *, overlayfs: str = "") -> str:
    """The command line of an image.

    Args:
        verity: ROOTHASH@OFFSET of a verified root, or nothing.
        more: words of the BSP.
        overlayfs: what to say in place of OVERLAYROOT_OVERLAYFS.
    """
    words = [f"ofs-root={d.getVar('OVERLAYROOT_ROOT')}", "panic=10"]
    if verity:
        words.append(f"ofs-verity={verity}")
    words += [*more, *(d.getVar("OVERLAYROOT_BOOTARGS") or "").split()]
    words.append(f"overlayfs={overlayfs or d.getVar('OVERLAYROOT_OVERLAYFS')}")
    words.append(f"ofs-size={d.getVar('OVERLAYROOT_SIZE')}")
    return " ".join([*words, "root="])
