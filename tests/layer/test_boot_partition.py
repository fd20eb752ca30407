# SPDX-License-Identifier: MIT
"""The finished card: what its boot partitions hold, read by mtools: nothing but what is protected boots."""

import gzip
import lzma
import os
import pathlib
import struct
import subprocess
from collections.abc import Callable

import bb.build
import bitbake
import pytest
from overlayroot import bootpart, content, route_script, wic

Put = Callable[..., None]


def legacy(kind: int) -> bytes:
    """A file with U-Boot's header."""
    return struct.pack(">I26xBB", 0x27051956, kind, 0) + bytes(64)


ZIMAGE = bytes(0x24) + struct.pack("<I", 0x016F2818) + b"the kernel of the build"
OTHER = bytes(0x24) + struct.pack("<I", 0x016F2818) + b"another one"
ARM64 = bytes(0x38) + b"ARM\x64" + b"Linux version 6.6"
UBOOT = bytes(0x38) + b"ARM\x64" + b"U-Boot 2024.01"
TREE = b"\xd0\x0d\xfe\xed" + bytes(52)
NODE = b"\0\0\0\x01images\0\0"
CPIO = b"070701" + bytes(104)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (ZIMAGE, "kernel"),
        (bytes(0x24) + struct.pack(">I", 0x016F2818), "kernel"),
        (ARM64, "kernel"),
        (gzip.compress(ARM64, mtime=0), "kernel"),
        (bytes(0x38) + b"RSC\x05", "kernel"),
        (bytes(0x202) + b"HdrS", "kernel"),
        (legacy(2), "kernel"),
        (legacy(3), "initramfs"),
        (legacy(4), "kernel"),
        (legacy(5), ""),  # U-Boot
        (legacy(6), "script"),
        (TREE, ""),
        (TREE + NODE + b"kernel\0", "kernel"),
        (TREE + NODE + b"script\0", "script"),
        (TREE + NODE + b"firmware\0", ""),
        (b"MZ" + bytes(200) + b".linux\0", "kernel"),
        (b"MZ" + bytes(200), ""),
        (b"\x7fELF" + bytes(200) + b"Linux version 6.6", "kernel"),
        (b"\x7fELF" + bytes(200), ""),
        (UBOOT, ""),
        (CPIO, "initramfs"),
        (gzip.compress(CPIO, mtime=0), "initramfs"),
        (lzma.compress(CPIO), "initramfs"),
        (b"\x28\xb5\x2f\xfd" + bytes(40), "initramfs"),
        (gzip.compress(b"text", mtime=0), ""),
        (gzip.compress(CPIO, mtime=0)[:6], ""),
        (b"", ""),
        (b"\x27\x05\x19\x56", ""),
    ],
)
def test_kinds_of_files(data: bytes, kind: str) -> None:
    assert content.kind(data) == kind


@pytest.mark.parametrize(
    "name", ["zImage", "imx6q-nitrogen6x.dtb", "overlays/vc4.dtbo", "logo.bmp", "uEnv.txt", "reboot.txt"]
)
def test_names_that_nobody_boots(name: str) -> None:
    assert bootpart.other_path(name) == ""


@pytest.fixture
def card(image: pathlib.Path, tmp_path: pathlib.Path, put: Put) -> pathlib.Path:
    """A card as it should be; the script is there already."""
    (tmp_path / "zImage").write_bytes(ZIMAGE)
    put("zImage", ZIMAGE)
    put("imx6q-nitrogen6x.dtb", TREE)
    put("uEnv.txt", b"console=ttymxc0\n")
    return image


def by_script(card: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """Messages where our script boots."""
    wanted = {"boot.scr": folder / "boot.scr", "zImage": folder / "zImage"}
    return wic.check(card, wanted, [("zImage", folder / "zImage")], route=route_script)


def test_a_card_as_it_should_be(card: pathlib.Path, tmp_path: pathlib.Path, put: Put) -> None:
    assert by_script(card, tmp_path) == []
    # By hand only.
    put("upgrade.scr", legacy(6))
    put("u-boot.img", legacy(5))
    assert by_script(card, tmp_path) == []


def test_files_that_are_not_ours(card: pathlib.Path, tmp_path: pathlib.Path, put: Put) -> None:
    (message,) = wic.check(card, {"overlayroot.env": tmp_path / "boot.scr"}, [])
    assert (
        message.startswith("overlayroot.env is not on the boot partition") and "IMAGE_BOOT_FILES" in message
    )
    put("boot.scr", b"another")
    (message,) = wic.check(card, {"boot.scr": tmp_path / "boot.scr"}, [])
    assert message.startswith(f"boot.scr on the boot partition is not {tmp_path}/boot.scr: another recipe")
    route = [str(card), "--route", "bundle", "--boot-file"]
    assert wic.main([*route, f"boot.scr={tmp_path}/boot.scr"]) == 1
    assert wic.main([*route, f"zImage={tmp_path}/zImage"]) == 0


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("extlinux/extlinux.conf", b"default linux", "U-Boot reads it before boot.scr"),
        ("boot/extlinux/extlinux.conf", b"default linux", "U-Boot reads it before boot.scr"),
        ("boot.scr.uimg", legacy(6), "U-Boot may run it"),
        ("6x_bootscript", legacy(6), "U-Boot may run it"),
        ("boot/boot.scr", legacy(6), "U-Boot may run it"),
        ("boot.cmd", b"bootz", "U-Boot may run it"),
        ("vendor.img", legacy(6), "it is a script of U-Boot's"),
        ("cmdline.txt", b"root=/dev/mmcblk0p2", "Raspberry Pi"),
        ("EFI/BOOT/bootarm.efi", b"MZ", "EFI starts it"),
        ("loader/loader.conf", b"default x", "EFI starts it"),
        ("uEnv.txt", b"console=x\nbootcmd=bootz\n", "it sets commands of U-Boot's"),
        ("uEnv.txt", b"uenvcmd=bootz", "it sets commands of U-Boot's"),
        ("uboot.env", b"crc\0a=b\0bootcmd=bootz\0", "it sets commands of U-Boot's"),
        ("zImage-old", OTHER, "is another kernel than that of this build"),
        ("zImage-copy", ZIMAGE, "is a second copy of the kernel"),
        ("kernel8.img", ARM64, "is another kernel than that of this build"),
    ],
)
def test_nothing_boots_beside_our_script(
    card: pathlib.Path, tmp_path: pathlib.Path, put: Put, name: str, data: bytes, said: str
) -> None:
    put(name, data)
    (message,) = by_script(card, tmp_path)
    assert message.lower().startswith(f"{name.lower()} ") and said in message


def test_a_card_without_the_kernel(image: pathlib.Path, tmp_path: pathlib.Path, put: Put) -> None:
    (tmp_path / "zImage").write_bytes(ZIMAGE)
    first, second = by_script(image, tmp_path)
    assert first.startswith("zImage is not on the boot partition")
    assert second.startswith("no kernel on the boot partition is zImage")
    put("zImage", OTHER)
    assert any(
        "zImage on the boot partition is another kernel" in line for line in by_script(image, tmp_path)
    )


def test_an_empty_boot_partition(image: pathlib.Path, tmp_path: pathlib.Path) -> None:
    subprocess.run(["mdel", "-i", f"{image}@@4M", "::boot.scr"], check=True)
    (message,) = wic.check(image, {"boot.scr": tmp_path / "boot.scr"}, [])
    assert message.startswith("boot.scr is not on the boot partition")


def test_a_boot_partition_that_cannot_be_read(image: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with image.open("r+b") as file:
        file.seek(4 << 20)
        file.write(bytes(4096))
    with pytest.raises(wic.ImageError, match="a boot partition cannot be read"):
        wic.check(image, {"boot.scr": tmp_path / "boot.scr"}, [])


# --- A kernel that carries the initramfs.


def bundled(card: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """Messages for a kernel with an initramfs; `plain` is the one without."""
    (folder / "carrier").write_bytes(ARM64 + b"initramfs")
    (folder / "plain").write_bytes(b"a kernel whose header nobody knows")
    return wic.check(card, {}, [("*", folder / "carrier")], [folder / "plain", folder / "absent"])


def test_whoever_boots_starts_the_kernel_with_the_initramfs(
    image: pathlib.Path, tmp_path: pathlib.Path, put: Put
) -> None:
    put("kernel8.img", ARM64 + b"initramfs")
    for name in ("cmdline.txt", "config.txt", "extlinux/extlinux.conf"):
        put(name, b"x")
    assert bundled(image, tmp_path) == []
    # The same kernel under a second name does no harm.
    put("Image", ARM64 + b"initramfs")
    assert bundled(image, tmp_path) == []


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("kernel8.img", b"a kernel whose header nobody knows", "is the kernel without the initramfs"),
        ("kernel8.img", ARM64, "is another kernel than that of this build"),
        ("sub/folder/vmlinuz", gzip.compress(ARM64, mtime=0), "is another kernel than that of this build"),
        ("fitImage", TREE + NODE + b"kernel\0", "is another kernel than that of this build"),
        (
            "rescue.cpio.gz",
            gzip.compress(CPIO, mtime=0),
            "is an initramfs, which replaces the one in the kernel",
        ),
    ],
)
def test_every_other_kernel_is_found(
    image: pathlib.Path, tmp_path: pathlib.Path, put: Put, name: str, data: bytes, said: str
) -> None:
    put("Image", ARM64 + b"initramfs")
    put(name, data)
    (message,) = bundled(image, tmp_path)
    assert message.startswith(f"{name} on the boot partition ") and said in message


def test_none_of_them_is_there(image: pathlib.Path, tmp_path: pathlib.Path, put: Put) -> None:
    (message,) = bundled(image, tmp_path)
    assert message.startswith("no kernel on the boot partition is carrier")


# --- More than one partition.


@pytest.fixture
def two(card: pathlib.Path) -> pathlib.Path:
    """The card with a second FAT partition, at 16 MiB."""
    label = "dos" if card.read_bytes()[450] != 0xEE else "gpt"
    table = f"label: {label}\nstart=8192, size=8MiB\nstart=32768, size=4MiB\n"
    subprocess.run(["sfdisk", "--quiet", "--force", card], input=table, text=True, check=True)
    subprocess.run(["mformat", "-i", f"{card}@@16M", "-T", "8192"], check=True)
    return card


def test_other_partitions_are_looked_into(two: pathlib.Path, tmp_path: pathlib.Path, put: Put) -> None:
    assert by_script(two, tmp_path) == []
    put("EFI/BOOT/bootarm.efi", b"MZ", "16M")
    put("vmlinuz", OTHER, "16M")
    assert sorted(line.split()[0] for line in by_script(two, tmp_path)) == ["EFI/BOOT/bootarm.efi", "vmlinuz"]


def test_the_marked_partition_is_the_first(two: pathlib.Path, tmp_path: pathlib.Path) -> None:
    def mark(number: int) -> None:
        if "gpt" in subprocess.run(["sfdisk", "-d", two], capture_output=True, text=True).stdout:
            words = ["--part-attrs", two, str(number), "LegacyBIOSBootable"]
        else:
            words = ["--activate", two, str(number)]
        subprocess.run(["sfdisk", "--quiet", *words], check=True)

    mark(1)
    assert by_script(two, tmp_path) == []
    if "gpt" in subprocess.run(["sfdisk", "-d", two], capture_output=True, text=True).stdout:
        subprocess.run(["sfdisk", "--quiet", "--part-attrs", two, "1", ""], check=True)
    mark(2)
    (message,) = by_script(two, tmp_path)
    assert message.startswith("another partition than the boot partition is marked as the one to boot from")


# --- As a build calls it.


def test_the_build_looks_into_its_card(
    card: pathlib.Path, tmp_path: pathlib.Path, put: Put, capfd: pytest.CaptureFixture[str]
) -> None:
    """The shell function of the class, with what BitBake makes of its options."""
    recipe = bitbake.TOP / "recipes-core/images/overlayroot-image-minimal.bb"

    def finish(**variables: str) -> None:
        folders = {"DEPLOY_DIR_IMAGE": str(tmp_path), "WORKDIR": str(tmp_path / "work")}
        # Nothing names the root by a signature, which a GPT has not.
        settings = {
            "DISTRO_FEATURES": "overlayroot",
            "OVERLAYROOT_ROOT": "LABEL=rootfs",
            "PATH": os.environ["PATH"],
        }
        d = bitbake.recipe(recipe, bitbake.configuration(**(settings | folders | variables)))
        d.setVar("do_finish", f"overlayroot_finish_wic {card}")
        d.setVar("bbfatal", 'echo "ERROR: $*"\nexit 1\n')
        for function in ("do_finish", "bbfatal"):
            d.setVarFlag(function, "func", "1")
        bb.build.exec_func("do_finish", d)

    ours = bitbake.recipe(recipe, bitbake.configuration(DISTRO_FEATURES="overlayroot"))
    for entry in ours.getVar("OVERLAYROOT_BOOT_FILES").split():
        source, name = entry.split(";")
        (tmp_path / source).write_bytes(b"ours")
        put(name, b"ours")
    finish()
    put("extlinux/extlinux.conf", b"default linux")
    with pytest.raises(bb.process.ExecutionError):
        finish()
    said = capfd.readouterr().out
    assert "ERROR: overlayroot: extlinux/extlinux.conf is on the boot partition, another way" in said
    bundle = {"INITRAMFS_IMAGE_BUNDLE": "1", "INITRAMFS_IMAGE": "overlayroot-initramfs"}
    bundle["IMAGE_BOOT_FILES"] = "zImage-initramfs-nitrogen6x.bin;zImage"
    (tmp_path / "zImage-initramfs-nitrogen6x.bin").write_bytes(OTHER)
    with pytest.raises(bb.process.ExecutionError):
        finish(**bundle)
    put("zImage", OTHER)
    finish(**bundle)
