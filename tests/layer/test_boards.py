# SPDX-License-Identifier: MIT
"""Boards that would not start what this layer makes are refused; the remedies work as they are written."""

import pathlib
import re

import bb.build
import bitbake
import pytest
from overlayroot import route_script

IMAGE = bitbake.TOP / "recipes-core/images/overlayroot-image-minimal.bb"
ON = {"DISTRO_FEATURES": "overlayroot"}

# What the machines of other layers set, as far as it matters.
RPI = {
    "MACHINE": "raspberrypi4-64",
    "MACHINEOVERRIDES": "rpi:raspberrypi4:${MACHINE}",
    "TARGET_ARCH": "aarch64",
    "KERNEL_IMAGETYPE": "Image",
    "IMAGE_BOOT_FILES": "bootfiles/* bcm2711-rpi-4-b.dtb Image;kernel8.img",
}
RPI_UBOOT = RPI | {
    "RPI_USE_U_BOOT": "1",
    "IMAGE_BOOT_FILES": "bootfiles/* Image u-boot.bin;kernel8.img boot.scr",
}
RPI3 = {
    "MACHINE": "raspberrypi3",
    "MACHINEOVERRIDES": "rpi:${MACHINE}",
    "IMAGE_BOOT_FILES": "bootfiles/* zImage;kernel7.img",
}
BEAGLEBONE = {
    "MACHINE": "beaglebone",
    "MACHINEOVERRIDES": "ti33x:${MACHINE}",
    "UBOOT_EXTLINUX": "1",
    "IMAGE_BOOT_FILES": "MLO u-boot.img extlinux.conf;extlinux/extlinux.conf zImage",
}
STM32 = {"MACHINE": "stm32mp1", "KERNEL_IMAGETYPE": "uImage", "KERNEL_ALT_IMAGETYPE": "zImage"}
VARISCITE = {"MACHINE": "imx6qdl-variscite-som", "KERNEL_IMAGETYPE": "uImage", "IMAGE_BOOT_FILES": "uImage"}
NITROGEN8 = {
    "MACHINE": "nitrogen8mp",
    "TARGET_ARCH": "aarch64",
    "KERNEL_IMAGETYPE": "Image",
    "IMAGE_BOOT_FILES": "Image boot.scr-${MACHINE};boot.scr",
}
LAYERSCAPE = {
    "MACHINE": "ls1046ardb",
    "TARGET_ARCH": "aarch64",
    "KERNEL_IMAGETYPE": "",
    "KERNEL_IMAGETYPES": "fitImage",
    "IMAGE_BOOT_FILES": "",
}
PC = {"MACHINE": "qemux86-64", "TARGET_ARCH": "x86_64", "KERNEL_IMAGETYPE": "bzImage", "IMAGE_BOOT_FILES": ""}
EFI = {"MACHINE": "board", "MACHINE_FEATURES": "efi usbhost", "EFI_PROVIDER": "systemd-boot"}
FIT = {"MACHINE": "board", "KERNEL_IMAGETYPE": "fitImage", "IMAGE_BOOT_FILES": "fitImage"}


def image(lines: str = "", **variables: str) -> bb.data_smart.DataSmart:
    """The example image; `lines` are configuration that comes last, as local.conf's overrides do."""
    settings = {"overrides": "pn-${PN}:${MACHINEOVERRIDES}"} | variables
    d = bitbake.configuration(**ON, **settings)
    for line in filter(None, lines.splitlines()):
        name, value = re.fullmatch(r'(\S+) = "(.*)"', line).groups()
        d.setVar(name, value)
    return bitbake.recipe(IMAGE, d)


def refused(lines: str = "", **variables: str) -> str:
    """Why an image is left out; empty when it is not."""
    return image(lines, **variables).getVar("__SKIPPED") or ""


def remedies(reason: str) -> str:
    """The assignments that the messages name, a line each."""
    return "\n".join(re.findall(r'[A-Z_]+(?::[\w-]+)* = "[^"]*"', reason))


@pytest.mark.parametrize(
    ("board", "why"),
    [
        (RPI | {"OVERLAYROOT_BOOT": "script"}, "raspberrypi4-64 does not run our boot script: its firmware"),
        (
            BEAGLEBONE | {"OVERLAYROOT_BOOT": "script"},
            'whether beaglebone runs boot.scr of its card before anything else (UBOOT_EXTLINUX = "1"',
        ),
        (STM32, "whether stm32mp1 runs boot.scr"),
        (VARISCITE, "whether imx6qdl-variscite-som runs boot.scr"),
        (LAYERSCAPE, "starts Image, Image.gz, and the kernel of ls1046ardb is fitImage"),
        (PC, "qemux86-64 is x86_64"),
        (EFI | {"OVERLAYROOT_BOOT": "script"}, "before anything else (MACHINE_FEATURES has efi)"),
        (FIT, "the kernel of board is fitImage"),
        ({"MACHINE": "board", "KERNEL_IMAGETYPE": "Image.gz"}, "the kernel of board is Image.gz"),
        (
            {"MACHINE": "board"},
            "whether board runs boot.scr of its card before anything else: let the kernel",
        ),
    ],
    ids=lambda value: value["MACHINE"] if isinstance(value, dict) else "",
)
def test_what_is_not_known_to_work_is_refused(board: dict[str, str], why: str) -> None:
    reason = refused(**board)
    assert why in reason
    assert f'INITRAMFS_IMAGE_BUNDLE:{board["MACHINE"]} = "1" in the configuration' in reason
    # The initramfs alone can be built anywhere.
    d = bitbake.recipe(IMAGE.with_name("overlayroot-initramfs.bb"), bitbake.configuration(**ON, **board))
    assert d.getVar("__SKIPPED") is None


@pytest.mark.parametrize(
    "board", ["imx6qdlsabresd", "nitrogen6sx", "nitrogen6x", "nitrogen6x-lite", "nitrogen7", "wandboard"]
)
def test_boards_of_the_layer(board: str) -> None:
    assert refused(MACHINE=board) == ""
    # Wandboard's machine has it; its file is not on our boot partition.
    assert refused(MACHINE=board, UBOOT_EXTLINUX="1") == ""
    assert refused(MACHINE="product", MACHINEOVERRIDES=f"{board}:product") == ""


@pytest.mark.parametrize("board", [RPI, RPI3, BEAGLEBONE, VARISCITE, NITROGEN8, LAYERSCAPE, PC, EFI, FIT])
def test_the_remedy_works_as_written(board: dict[str, str]) -> None:
    """What the messages say, until there is none: the kernel carries the initramfs."""
    # Whatever way it would go by itself.
    machine = board["MACHINE"]
    lines = f'INITRAMFS_IMAGE_BUNDLE:{machine} = "1"\nINITRAMFS_IMAGE:{machine} = "overlayroot-initramfs"'
    rounds = 0
    while reason := refused(lines, **board):
        found = [line for line in remedies(reason).splitlines() if "BOARDS" not in line]
        bundle = [line for line in found if "INITRAMFS_IMAGE" in line]
        wic = [line for line in found if not line.startswith("OVERLAYROOT_IMAGE_FSTYPES")]
        new = "\n".join(bundle or wic)
        assert new and new not in lines, reason
        lines, rounds = f"{lines}\n{new}", rounds + 1
        assert rounds < 5
    d = image(lines, **board)
    assert d.getVar("OVERLAYROOT_BOOT") == "bundle"
    kernels = [entry for entry in d.getVar("IMAGE_BOOT_FILES").split() if "mage" in entry.partition(";")[0]]
    assert kernels and all("-initramfs-" in entry.partition(";")[0] for entry in kernels)


def test_every_name_of_a_plain_kernel_is_found() -> None:
    bundle = {"INITRAMFS_IMAGE_BUNDLE": "1", "INITRAMFS_IMAGE": "overlayroot-initramfs"}
    ours = "Image-initramfs-raspberrypi4-64.bin"
    reason = refused(**(RPI | bundle))
    assert 'IMAGE_BOOT_FILES:remove = "Image;kernel8.img"' in reason
    assert f'IMAGE_BOOT_FILES:append = " {ours};kernel8.img"' in reason
    for plain in (
        "Image",
        "Image;kernel8.img",
        "Image-raspberrypi4-64.bin;kernel8.img",
        "Imag*",
        "Image-6.6.bin",
    ):
        files = f"{ours};Image {plain}"
        assert f"has {plain}, a kernel without" in refused(**(RPI | bundle | {"IMAGE_BOOT_FILES": files}))
    good = RPI | bundle | {"IMAGE_BOOT_FILES": f"bootfiles/* {ours};kernel8.img {ours};Image Image.txt"}
    assert refused(**good) == ""
    assert "IMAGE_BOOT_FILES has no kernel" in refused(**(RPI | bundle | {"IMAGE_BOOT_FILES": "bootfiles/*"}))
    assert refused(**(RPI | bundle | {"IMAGE_BOOT_FILES": "", "OVERLAYROOT_IMAGE_FSTYPES": "ext4"})) == ""
    # A layout of one's own may have other sources; the finished card is looked into.
    own = {"IMAGE_BOOT_FILES": "", "OVERLAYROOT_WKS_FILE": "mine.wks"}
    assert refused(**(RPI | bundle | own)) == ""


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("extlinux.conf;extlinux/extlinux.conf", "U-Boot reads it before boot.scr"),
        ("extlinux/extlinux.conf", "U-Boot reads it before boot.scr"),
        ("vendor.scr;boot.scr", "takes the place of ours"),
        ("vendor.scr;BOOT.SCR", "takes the place of ours"),
        ("boot.scr;boot.scr.uimg", "U-Boot may run it"),
        ("vendor.scr;6x_bootscript", "U-Boot may run it"),
        ("boot.cmd", "U-Boot may run it"),
        ("bootfiles/config.txt", "Raspberry Pi"),
        ("cmdline.txt", "Raspberry Pi"),
        ("grub-efi-bootx64.efi;EFI/BOOT/bootx64.efi", "EFI starts it"),
        ("zImage;zImage-old", "a second kernel"),
        ("zImage-nitrogen6x.bin;kernel", "a second kernel"),
    ],
)
def test_another_way_to_boot_is_refused(entry: str, why: str) -> None:
    files = f"zImage {entry}"
    reason = refused(IMAGE_BOOT_FILES=files)
    assert f"IMAGE_BOOT_FILES has {entry}, " in reason and why in reason
    assert refused(remedies(reason), IMAGE_BOOT_FILES=files) == ""


def test_a_card_without_a_kernel_is_refused() -> None:
    reason = refused(IMAGE_BOOT_FILES="extlinux.conf;extlinux/extlinux.conf")
    assert (
        'IMAGE_BOOT_FILES has no zImage, which is to be started: IMAGE_BOOT_FILES:append = " zImage"'
        in reason
    )
    assert refused(remedies(reason), IMAGE_BOOT_FILES="extlinux.conf;extlinux/extlinux.conf") == ""
    assert refused(IMAGE_BOOT_FILES="", OVERLAYROOT_IMAGE_FSTYPES="") == ""


def test_who_knows_better_says_so(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, errors: list[str]
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(bb, "warn", warnings.append)
    (tmp_path / "rootfs/sbin").mkdir(parents=True)
    (tmp_path / "rootfs/sbin/init").touch()
    vouched = {"OVERLAYROOT_BOARDS:append": " board", "MACHINE": "board", "WORKDIR": str(tmp_path)}
    d = image(**vouched)
    assert d.getVar("__SKIPPED") is None
    bb.build.exec_func("overlayroot_check_rootfs", d)
    assert len(warnings) == 1 and "board is protected only if its boot loader starts" in warnings[0]
    bb.build.exec_func("overlayroot_check_rootfs", image(WORKDIR=str(tmp_path)))
    assert len(warnings) == 1 and errors == []
    # What the script cannot start it cannot start anywhere.
    assert "the kernel of board is zImage" in refused(**vouched, TARGET_ARCH="aarch64")
    assert "the kernel of board is bzImage" in refused(**vouched, KERNEL_IMAGETYPE="bzImage")
    assert "starts kernels of ARM, and board is mips" in refused(**vouched, TARGET_ARCH="mips")


@pytest.mark.parametrize(
    ("board", "more"),
    [
        (NITROGEN8, ["ofs_kernel=Image", "ofs_fdt=imx6q-nitrogen6x.dtb"]),
        (RPI_UBOOT, ["ofs_kernel=Image", "ofs_fdt=given"]),
        (
            VARISCITE | {"OVERLAYROOT_BOARDS:append": " mx6q", "MACHINEOVERRIDES": "mx6q"},
            ["ofs_kernel=uImage"],
        ),
    ],
)
def test_other_kernels_by_our_script(board: dict[str, str], more: list[str]) -> None:
    """A machine that brings a boot.scr is started by it: ours takes its place."""
    d = image(**board)
    assert d.getVar("__SKIPPED") is None and d.getVar("OVERLAYROOT_BOOT") == "script"
    names = [entry.partition(";")[2] for entry in d.getVar("IMAGE_BOOT_FILES").split()]
    assert names.count("boot.scr") == 1 and "boot.scr-overlayroot;boot.scr" in d.getVar("IMAGE_BOOT_FILES")
    assert set(more) <= set(route_script.environment(d).splitlines())


def test_a_plain_kernel_in_the_root_is_refused(tmp_path: pathlib.Path, errors: list[str]) -> None:
    """A boot loader may look into /boot of the root; on boards of the layer it does not."""
    bundle = {"INITRAMFS_IMAGE_BUNDLE": "1", "INITRAMFS_IMAGE": "overlayroot-initramfs"}
    boot = tmp_path / "rootfs/boot"
    boot.mkdir(parents=True)
    (tmp_path / "rootfs/sbin").mkdir()
    (tmp_path / "rootfs/sbin/init").touch()
    carrier, plain = (bytes(0x24) + b"\x18\x28\x6f\x01" + text for text in (b"carrier", b"plain"))
    (tmp_path / "zImage-initramfs-board.bin").write_bytes(carrier)
    files = {"IMAGE_BOOT_FILES": "zImage-initramfs-board.bin;zImage", "DEPLOY_DIR_IMAGE": str(tmp_path)}

    def check(**variables: str) -> None:
        d = image(WORKDIR=str(tmp_path), **(bundle | files | {"MACHINE": "board"} | variables))
        assert d.getVar("__SKIPPED") is None
        bb.build.exec_func("overlayroot_check_rootfs", d)

    (boot / "zImage-6.6").write_bytes(carrier)
    check()
    (boot / "zImage-6.7").write_bytes(plain)
    with pytest.raises(bb.BBHandledException):
        check()
    assert errors.pop().startswith("/boot/zImage-6.7 is a kernel without the initramfs")
    check(MACHINE="nitrogen6x", IMAGE_BOOT_FILES="zImage-initramfs-nitrogen6x.bin;zImage")
    check(**{"OVERLAYROOT_BOARDS:append": " board"})


def test_any_kernel_in_the_root_is_refused_elsewhere(tmp_path: pathlib.Path, errors: list[str]) -> None:
    """Where the boot partition brings the initramfs, no kernel in the root has it."""
    (tmp_path / "rootfs/boot").mkdir(parents=True)
    (tmp_path / "rootfs/sbin").mkdir()
    (tmp_path / "rootfs/sbin/init").touch()
    (tmp_path / "rootfs/boot/zImage").write_bytes(bytes(0x24) + b"\x18\x28\x6f\x01")
    for board in (BEAGLEBONE, NITROGEN8):
        with pytest.raises(bb.BBHandledException):
            bb.build.exec_func("overlayroot_check_rootfs", image(**board, WORKDIR=str(tmp_path)))
        assert errors.pop().startswith("/boot/zImage is a kernel without the initramfs")
    # Firmware that reads no ext4.
    for board in (RPI, PC | {"MACHINE_FEATURES": "efi", "EFI_PROVIDER": "grub-efi"}):
        bb.build.exec_func("overlayroot_check_rootfs", image(**board, WORKDIR=str(tmp_path)))
