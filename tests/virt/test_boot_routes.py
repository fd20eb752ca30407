# SPDX-License-Identifier: MIT
"""Ways to boot on 64-bit ARM: cards with what the layer puts on them, started by real boot loaders.

Each comes up protected, the root keeps its hash, one writable boot changes it, and the next one is protected.
"""

import gzip
import pathlib

import cards
import fitimage
import pytest
import uml
import virt
from overlayroot import route_efi, route_extlinux, route_fit

SCRIPT = "echo new >/etc/keep; busybox sync; overlayrootctl status --check; busybox cat /proc/cmdline"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The root."""
    return uml.disk(tmp_path_factory.mktemp("root") / "root.img", change=virt.system)


@pytest.fixture(scope="module")
def uinitrd(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The initramfs behind U-Boot's header."""
    return cards.initramfs(tmp_path_factory.mktemp("initramfs") / "i.uInitrd")


@pytest.fixture(scope="module")
def image() -> bytes:
    """The kernel: an Image."""
    (path,) = (uml.setting("OVERLAYROOT_LINUX") / "boot").glob("vmlinuz-*")
    data = path.read_bytes()
    assert data[0x38:0x3C] == b"ARM\x64"
    return data


def environment(kernel: str, more: str = "") -> bytes:
    """overlayroot.env for this machine."""
    root = f"PARTUUID={cards.SIGNATURE}-02"
    return f"ofs_root={root}\nofs_kernel={kernel}\nofs_fdt=given\nofs_console=ttyAMA0\n{more}".encode()


def u_boot(folder: pathlib.Path) -> cards.Machine:
    """A machine with U-Boot."""
    return cards.Machine(folder, uml.setting("OVERLAYROOT_U_BOOT_ARM64"))


def protected(machine: cards.Machine, card: pathlib.Path) -> uml.Boot:
    """Boots to a protected root, which stays as it is."""
    before = cards.root(card)
    booted = machine.start_card(card, SCRIPT)
    assert booted.verdict.startswith("protected: / is RAM over read-only /dev/"), booted.console[-3000:]
    assert booted.report["protected"] and not booted.report["warnings"]
    assert "OVERLAYROOT OK" in booted.script
    assert cards.root(card) == before
    return booted


def written(machine: cards.Machine, card: pathlib.Path) -> None:
    """Boots to a root that can be written."""
    before = cards.root(card)
    booted = machine.start_card(card, SCRIPT)
    assert booted.verdict.startswith("warning: NOT PROTECTED"), booted.console[-3000:]
    assert cards.root(card) != before


@pytest.mark.parametrize("kernel", ["Image", "Image.gz"])
def test_script(
    tmp_path: pathlib.Path, system: pathlib.Path, image: bytes, uinitrd: bytes, kernel: str
) -> None:
    """boot.scr starts an Image by booti, and unpacks one that is compressed."""
    card = tmp_path / "card.img"
    data = image if kernel == "Image" else gzip.compress(image, 1, mtime=0)
    files = {
        "boot.scr": uml.setting("OVERLAYROOT_BOOT_SCRIPT").read_bytes(),
        "overlayroot.env": environment(kernel),
        "overlayroot.uInitrd": uinitrd,
        kernel: data,
    }
    cards.make(card, files, system)
    machine = u_boot(tmp_path)
    booted = protected(machine, card)
    words = booted.script.splitlines()[-1].split()
    assert words[0] == f"ofs-root=PARTUUID={cards.SIGNATURE}-02" and words[-1] == "root="
    assert {"panic=10", "overlayfs=yes", "ofs-size=20", "console=ttyAMA0,115200"} <= set(words)
    # The owner's file has other wishes; at last for a writable system.
    cards.put(card, {"uEnv.txt": b"ofs_size=30\n"})
    assert "ofs-size=30" in protected(machine, card).script
    cards.put(card, {"uEnv.txt": b"overlayfs=no\n"})
    written(machine, card)


def test_script_with_damaged_files(
    tmp_path: pathlib.Path, system: pathlib.Path, image: bytes, uinitrd: bytes
) -> None:
    """U-Boot notices a damaged initramfs and an Image.gz that is cut off, and starts nothing."""
    card = tmp_path / "card.img"
    packed = gzip.compress(image, 1, mtime=0)
    files = {
        "boot.scr": uml.setting("OVERLAYROOT_BOOT_SCRIPT").read_bytes(),
        "overlayroot.env": environment("Image.gz"),
        "overlayroot.uInitrd": uinitrd[:-9] + b"x" + uinitrd[-8:],
        "Image.gz": packed,
    }
    cards.make(card, files, system)
    booted = u_boot(tmp_path).start_card(card)
    assert "ERROR: overlayroot.uInitrd on virtio 0:1 is damaged: write it anew" in booted.console
    assert "nothing boots: restart in 10 s" in booted.console and "Starting kernel" not in booted.console
    cards.put(card, {"overlayroot.uInitrd": uinitrd, "Image.gz": packed[: len(packed) // 2]})
    booted = u_boot(tmp_path).start_card(card)
    assert "ERROR: Image.gz on virtio 0:1 is damaged: write it anew" in booted.console
    assert "Starting kernel" not in booted.console


class Store(dict):
    """Stands in for BitBake's datastore."""

    def getVar(self, name: str, expand: bool = True) -> str | None:
        """Value of a variable."""
        return self.get(name)


def store(**variables: str) -> Store:
    """The configuration of this machine."""
    return Store(
        {
            "OVERLAYROOT_ROOT": f"PARTUUID={cards.SIGNATURE}-02",
            "OVERLAYROOT_OVERLAYFS": "yes",
            "OVERLAYROOT_SIZE": "20%",
            "KERNEL_IMAGETYPE": "Image",
            "SERIAL_CONSOLES": "115200;ttyAMA0",
        }
        | variables
    )


def encoded(texts: dict[str, str]) -> dict[str, bytes]:
    """Files of a card."""
    return {name: text.encode() for name, text in texts.items()}


@pytest.mark.parametrize("disk", ["virtio-blk-pci", "nvme"])
def test_extlinux(
    tmp_path: pathlib.Path, system: pathlib.Path, image: bytes, uinitrd: bytes, disk: str
) -> None:
    """U-Boot's standard boot; what is damaged is not started, and nothing else is."""
    texts = encoded(route_extlinux.texts(store(), ""))
    card = tmp_path / "card.img"
    cards.make(card, {"Image": image, "overlayroot.uInitrd": uinitrd, **texts}, system)
    machine = cards.Machine(tmp_path, uml.setting("OVERLAYROOT_U_BOOT_ARM64"), disk)
    if disk == "nvme":
        # The test system has no script there.
        assert machine.start_card(card).report["protected"]
        return
    line = protected(machine, card).script.splitlines()[-1].split()
    assert line[0].startswith("ofs-root=") and line[-1] == "root="
    cards.put(card, {"overlayroot.uInitrd": uinitrd[:-9] + b"x" + uinitrd[-8:]})
    console = machine.until(card, "\n=> ")
    assert "Bad Data CRC" in console and "Starting kernel" not in console
    # By the file that only a hand, or a tool, puts in the place of the other one.
    writable = {route_extlinux.CONFIG: texts[route_extlinux.WRITABLE]}
    cards.put(card, {"overlayroot.uInitrd": uinitrd, **writable})
    written(machine, card)


@pytest.fixture(scope="module")
def initrd(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The initramfs as it is."""
    return cards.initramfs(tmp_path_factory.mktemp("initramfs") / "i.cpio.gz")


def test_systemd_boot(tmp_path: pathlib.Path, system: pathlib.Path, image: bytes, initrd: bytes) -> None:
    texts = encoded(route_efi.texts(store(EFI_PROVIDER="systemd-boot"), ""))
    loader = uml.setting("OVERLAYROOT_SYSTEMD_BOOT").read_bytes()
    files = {"EFI/BOOT/bootaa64.efi": loader, "Image": image, "overlayroot.cpio.gz": initrd, **texts}
    card = tmp_path / "card.img"
    cards.make(card, files, system)
    machine = cards.Machine(tmp_path, uml.setting("OVERLAYROOT_EDK2_ARM64"))
    assert "root=" in protected(machine, card).script.splitlines()[-1].split()
    cards.put(card, {"loader/loader.conf": b"default overlayroot-writable.conf\ntimeout 0\n"})
    written(machine, card)


def test_grub(tmp_path: pathlib.Path, system: pathlib.Path, image: bytes, initrd: bytes) -> None:
    """One writable boot by GRUB's environment block, which GRUB itself writes; then protection again."""
    texts = encoded(route_efi.texts(store(EFI_PROVIDER="grub-efi"), ""))
    # The modules that oe-core builds in (GRUB_BUILDIN of grub-efi).
    modules = (
        "boot linux ext2 fat serial part_msdos part_gpt normal efi_gop iso9660 configfile search loadenv test"
    )
    make = [uml.setting("OVERLAYROOT_GRUB_MKIMAGE"), "-d", uml.setting("OVERLAYROOT_GRUB")]
    uml.run(*make, "-O", "arm64-efi", "-p", "/EFI/BOOT", "-o", tmp_path / "grub.efi", *modules.split())
    loader = (tmp_path / "grub.efi").read_bytes()
    files = {"EFI/BOOT/bootaa64.efi": loader, "Image": image, "overlayroot.cpio.gz": initrd, **texts}
    card = tmp_path / "card.img"
    cards.make(card, files, system)
    machine = cards.Machine(tmp_path, uml.setting("OVERLAYROOT_EDK2_ARM64"))
    protected(machine, card)
    block = texts[route_efi.GRUB_ENVIRONMENT]
    wish = b"ofs_size=30%\noverlayfs_once=no\n"
    cards.put(card, {route_efi.GRUB_ENVIRONMENT: (block[:25] + wish + block[25:])[:1024]})
    written(machine, card)
    # The journal is repaired once; the request is used up, the size stays.
    assert machine.start_card(card).report["protected"]
    assert "ofs-size=30%" in protected(machine, card).script


def test_fit(tmp_path: pathlib.Path, system: pathlib.Path, image: bytes, initrd: bytes) -> None:
    """Kernel, device tree and initramfs in one file, whose hashes U-Boot looks at."""
    # With a firmware the machine has other devices.
    words = [uml.setting("OVERLAYROOT_QEMU"), "-nodefaults", "-display", "none", "-cpu", "cortex-a53"]
    words += ["-m", "512M", "-bios", uml.setting("OVERLAYROOT_U_BOOT_ARM64")]
    words += ["-serial", "null", "-serial", "null", "-M", f"virt,dumpdtb={tmp_path / 'tree'}"]
    uml.run(*words)
    variables = store(KERNEL_IMAGETYPE="fitImage", TARGET_ARCH="aarch64")
    fit = fitimage.make(image, (tmp_path / "tree").read_bytes(), initrd)
    files = {"boot.scr": uml.setting("OVERLAYROOT_BOOT_SCRIPT").read_bytes(), "fitImage": fit}
    files |= encoded(route_fit.texts(variables, ""))
    card = tmp_path / "card.img"
    cards.make(card, files, system)
    machine = u_boot(tmp_path)
    assert protected(machine, card).script.splitlines()[-1].split()[-1] == "root="
    at = fit.index(initrd) + len(initrd) - 9
    cards.put(card, {"fitImage": fit[:at] + b"x" + fit[at + 1 :]})
    booted = machine.start_card(card)
    assert "ERROR: fitImage on virtio 0:1 is damaged: write it anew" in booted.console
    assert "Starting kernel" not in booted.console
    cards.put(card, {"fitImage": fit, "uEnv.txt": b"overlayfs=no\n"})
    written(machine, card)
