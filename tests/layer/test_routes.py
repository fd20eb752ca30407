# SPDX-License-Identifier: MIT
"""Ways to boot beside the boot script: what the image class makes of machines, and what it refuses."""

import pathlib

import bb.build
import fitimage
import pytest
from overlayroot import cmdline, content, route_efi, route_extlinux, route_fit, route_rpi, routes, wic, wks
from test_boards import BEAGLEBONE, RPI, image, refused

PC = {
    "MACHINE": "pc",
    "TARGET_ARCH": "x86_64",
    "KERNEL_IMAGETYPE": "bzImage",
    "MACHINE_FEATURES": "efi",
    "EFI_PROVIDER": "systemd-boot",
    "IMAGE_BOOT_FILES": "",
    "SERIAL_CONSOLES": "115200;ttyS0 115200;ttyS1",
}
TWO = """part --source bootimg-partition --fstype=vfat --label boot --active --use-uuid --fixed-size 128M
part / --source rootfs --fstype=ext4 --label root --align 1024
"""


def written(d) -> dict[str, str]:
    """Files that the image writes, by their names on the boot partition."""
    return routes.of(d).texts(d, "")


def names(d, variable: str = "IMAGE_BOOT_FILES") -> list[str]:
    """Names on the card."""
    return [entry.rpartition(";")[2] for entry in (d.getVar(variable) or "").split()]


def test_each_way_has_what_the_class_asks_for() -> None:
    functions = "claims files texts depends problems kernels plain replaced card".split()
    constants = "VARIABLE TEXT_DEPENDS FIRMWARE TAKES_INITRAMFS".split()
    for name, module in routes.ROUTES.items():
        assert module.__name__ == f"overlayroot.route_{name}"
        assert [one for one in (*functions, *constants) if not hasattr(module, one)] == []
    assert set(routes.ORDER) | {"bundle"} == set(routes.ROUTES)


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        ("root=/dev/mmcblk0p2 rootfstype=ext4 rootwait quiet", ["quiet"]),
        ("rw ro rootwait=5 rootdelay=3 rootflags=x resume=/dev/x rows=3", ["rows=3"]),
        (None, []),
    ],
)
def test_what_stays_of_a_command_line(line: str | None, stays: list[str]) -> None:
    assert cmdline.without_root(line) == stays


# --- extlinux.conf


def test_extlinux(tmp_path: pathlib.Path) -> None:
    own = {
        "UBOOT_EXTLINUX_KERNEL_ARGS": "rootwait rw earlycon",
        "UBOOT_EXTLINUX_LABELS": "default",
        "UBOOT_EXTLINUX_FDT:default": "../am335x-boneblack.dtb",
        "SERIAL_CONSOLES": "115200;ttyS0",
        "OVERLAYROOT_BOOTARGS": "quiet",
        "OVERLAYROOT_DISK_SIGNATURE": "0badcafe",
    }
    d = image(**(BEAGLEBONE | own))
    assert d.getVar("__SKIPPED") is None
    assert d.getVar("OVERLAYROOT_BOOT") == "extlinux"
    assert "extlinux.conf;extlinux/extlinux.conf" not in d.getVar("IMAGE_BOOT_FILES").split()
    assert names(d).count("extlinux/extlinux.conf") == 1
    assert {"MLO", "u-boot.img", "zImage", "overlayroot.uInitrd"} <= set(names(d))
    assert "overlayroot-initramfs:do_image_complete" in d.getVarFlag("do_image_wic", "depends").split()
    text = written(d)["extlinux/extlinux.conf"]
    assert text.splitlines()[1:] == [
        "DEFAULT overlayroot",
        "LABEL overlayroot",
        "\tKERNEL /zImage",
        "\tINITRD /overlayroot.uInitrd",
        "\tFDT /am335x-boneblack.dtb",
        "\tAPPEND ofs-root=PARTUUID=0badcafe-02 panic=10 earlycon console=ttyS0,115200 quiet "
        "overlayfs=yes ofs-size=20% root=",
    ]
    # U-Boot tries every entry of a file: the writable one is in another, which nothing reads by itself.
    assert text.count("LABEL") == 1 and "overlayfs=no" not in text
    writable = written(d)["extlinux/writable.conf"]
    assert writable == text.replace("overlayfs=yes", "overlayfs=no")
    # It is what the build writes.
    d.setVar("OVERLAYROOT_ENV_DIR", str(tmp_path))
    bb.build.exec_func("do_overlayroot_env", d)
    assert (tmp_path / "overlayroot-image-minimal-beaglebone.extlinux.conf").read_text() == text
    assert "ofs-verity=abc@1" in route_extlinux.texts(d, "abc@1")["extlinux/extlinux.conf"].split()


def test_extlinux_finds_device_trees_by_itself() -> None:
    (line,) = [
        line for line in written(image(**BEAGLEBONE))["extlinux/extlinux.conf"].split("\n") if "FDT" in line
    ]
    assert line == "\tFDTDIR /"


def test_a_board_that_only_says_so_is_refused() -> None:
    """UBOOT_EXTLINUX alone: the file is in U-Boot's package, on the root, and nobody knows what is read."""
    said = refused(MACHINE="board", UBOOT_EXTLINUX="1", OVERLAYROOT_BOOT="extlinux")
    assert "nobody knows whether board reads extlinux.conf of its card" in said
    vouched = {"OVERLAYROOT_BOARDS:append": " board", "MACHINE": "board", "OVERLAYROOT_BOOT": "extlinux"}
    assert refused(**vouched) == ""
    assert "the kernel of beaglebone is fitImage" in refused(**BEAGLEBONE, KERNEL_IMAGETYPE="fitImage")
    other = "IMAGE_BOOT_FILES has boot.scr, another way to boot"
    assert other in refused(**(BEAGLEBONE | {"IMAGE_BOOT_FILES": "zImage x;extlinux/extlinux.conf boot.scr"}))


# --- Raspberry Pi


def test_raspberry_pi(tmp_path: pathlib.Path) -> None:
    (tmp_path / "bootfiles").mkdir()
    (tmp_path / "bootfiles/config.txt").write_text("arm_64bit=1\n[pi4]\ndtoverlay=x\n")
    (tmp_path / "bootfiles/cmdline.txt").write_text(
        "console=serial0,115200 root=/dev/mmcblk0p2 rootwait net.ifnames=0\n"
    )
    d = image(**RPI, DEPLOY_DIR_IMAGE=str(tmp_path), OVERLAYROOT_DISK_SIGNATURE="0badcafe")
    assert d.getVar("__SKIPPED") is None
    assert d.getVar("OVERLAYROOT_BOOT") == "rpi"
    # Ours come last: wic copies one over the other.
    assert names(d)[-5:] == [
        "overlayroot.cpio.gz",
        "config.txt",
        "cmdline.txt",
        "tryboot.txt",
        "writable.txt",
    ]
    texts = written(d)
    ours = "[all]\ninitramfs overlayroot.cpio.gz followkernel\n"
    assert texts["config.txt"] == f"arm_64bit=1\n[pi4]\ndtoverlay=x\n{ours}"
    assert texts["tryboot.txt"] == f"{texts['config.txt']}cmdline=writable.txt\n"
    line = "ofs-root=PARTUUID=0badcafe-02 panic=10 console=serial0,115200 net.ifnames=0"
    line += " overlayfs=yes ofs-size=20% root="
    assert texts["cmdline.txt"] == f"{line}\n"
    assert texts["writable.txt"] == texts["cmdline.txt"].replace("overlayfs=yes", "overlayfs=no")
    # Another task's files are no part of this one's hash.
    assert "dtoverlay" not in d.getVar("OVERLAYROOT_TEXTS") and "followkernel" in d.getVar(
        "OVERLAYROOT_TEXTS"
    )
    assert "rpi-config:do_deploy" in d.getVarFlag("do_overlayroot_env", "depends").split()


@pytest.mark.parametrize(
    ("config", "kernel", "said"),
    [
        ("", "kernel8.img", ""),
        ("kernel=Image\n", "Image", ""),
        ("", "Image", "image on the boot partition is no name that the firmware takes"),
        ("kernel=other.img\n", "kernel8.img", "has to bring it as other.img"),
        ("initramfs mine.gz 0x2\n", "kernel8.img", 'config.txt has "initramfs mine.gz 0x2", and ours'),
        ("[pi4]\ncmdline=x.txt\n", "kernel8.img", 'config.txt has "cmdline=x.txt"'),
        ("include more.txt\n", "kernel8.img", 'config.txt has "include more.txt"'),
        ("os_prefix=a/\n", "kernel8.img", 'config.txt has "os_prefix=a/"'),
        ("# initramfs x\n", "kernel8.img", ""),
    ],
)
def test_what_the_firmware_would_take(config: str, kernel: str, said: str) -> None:
    data = bytes(0x38) + b"ARM\x64" + b"Linux version 6.6"
    found = {"config.txt": route_rpi.config(config).encode(), kernel: data}
    messages = route_rpi.card(found)
    assert (len(messages), said in "".join(messages)) == (int(bool(said)), True)


def test_no_raspberry_pi() -> None:
    assert "pc is no Raspberry Pi" in refused(**PC, OVERLAYROOT_BOOT="rpi")
    assert 'has to be "script"' in refused(**RPI, OVERLAYROOT_BOOT="rpi", RPI_USE_U_BOOT="1")
    files = RPI["IMAGE_BOOT_FILES"]
    assert "boot.scr, another way to boot" in refused(**(RPI | {"IMAGE_BOOT_FILES": f"{files} boot.scr"}))
    assert "zImage;kernel7.img, a second kernel" in refused(
        **(RPI | {"IMAGE_BOOT_FILES": f"{files} zImage;kernel7.img"})
    )


# --- EFI


def test_systemd_boot() -> None:
    d = image(**PC)
    assert d.getVar("__SKIPPED") is None
    assert (d.getVar("OVERLAYROOT_BOOT"), d.getVar("WKS_FILE")) == ("efi", "overlayroot-efi.wks.in")
    assert d.getVar("OVERLAYROOT_WKS_EFI") == "loader=systemd-boot"
    assert d.getVar("OVERLAYROOT_ROOT") == f"PARTUUID={d.getVar('OVERLAYROOT_ROOT_UUID')}"
    assert names(d) == [] and names(d, "IMAGE_EFI_BOOT_FILES") == ["overlayroot.cpio.gz", *written(d)]
    depends = d.getVarFlag("do_image_wic", "depends").split()
    assert {"systemd-boot:do_deploy", "overlayroot-initramfs:do_image_complete"} <= set(depends)
    texts = written(d)
    assert texts["loader/loader.conf"] == "default boot.conf\ntimeout 0\neditor no\n"
    # The name of the entry that the plugin of wic writes: it must not stay.
    title, kernel, initrd, options = texts["loader/entries/boot.conf"].splitlines()
    assert (title, kernel, initrd) == ("title protected", "linux /bzImage", "initrd /overlayroot.cpio.gz")
    words = options.split()
    assert words[:2] == ["options", f"ofs-root={d.getVar('OVERLAYROOT_ROOT')}"] and words[-1] == "root="
    assert words.index("console=ttyS1,115200") < words.index("console=ttyS0,115200")
    assert "overlayfs=no" in texts["loader/entries/overlayroot-writable.conf"].split()


def test_grub() -> None:
    d = image(**(PC | {"EFI_PROVIDER": "grub-efi", "APPEND": "root=/dev/sda2 vga=0"}))
    assert d.getVar("__SKIPPED") is None
    texts = written(d)
    assert len(texts["EFI/BOOT/grubenv"]) == 1024
    assert texts["EFI/BOOT/grubenv"].startswith("# GRUB Environment Block\n#")
    text = texts["EFI/BOOT/grub.cfg"]
    assert "vga=0" in text and "/dev/sda2" not in text
    assert "overlayfs=${ofs} ofs-size=${size} root=\n" in text
    # A request that cannot be used up is not granted.
    assert "if save_env overlayfs_once; then set ofs=no; fi" in text


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MACHINE_FEATURES": "", "OVERLAYROOT_BOOT": "efi"}, 'MACHINE_FEATURES:append:pc = " efi"'),
        ({"EFI_PROVIDER": "refind"}, 'EFI_PROVIDER = "refind" is none that is known'),
        ({"KERNEL_IMAGETYPE": "uImage"}, "EFI starts no uImage"),
        ({"IMAGE_BOOT_FILES": "extlinux/extlinux.conf"}, "has extlinux/extlinux.conf, another way to boot"),
        (
            {"IMAGE_EFI_BOOT_FILES": "x.conf;loader/entries/x.conf"},
            'IMAGE_EFI_BOOT_FILES:remove = "x.conf;loader/entries/x.conf"',
        ),
    ],
)
def test_no_efi(variables: dict[str, str], said: str) -> None:
    assert said in refused(**(PC | variables))


# --- The machine's own layout


@pytest.mark.parametrize(
    ("text", "name", "numbers"),
    [
        (TWO, "PARTUUID=0badcafe-02", (1, 2)),
        (
            'part u --source rawcopy --sourceparams="file=u.bin" --no-table --align 32\n' + TWO,
            "PARTUUID=0badcafe-02",
            (1, 2),
        ),
        ("part a --size 1\npart b --size 1\npart c --size 1\n" + TWO, "PARTUUID=0badcafe-06", (5, 6)),
        (TWO + "bootloader --ptable gpt\n", "LABEL=root", (1, 2)),
        (
            TWO.replace("--label root", "--part-name=rootfs --label root") + "bootloader --ptable=gpt\n",
            "PARTLABEL=rootfs",
            (1, 2),
        ),
        (
            TWO.replace("--label root", "--uuid E91C4E10") + "bootloader --ptable gpt\n",
            "PARTUUID=e91c4e10",
            (1, 2),
        ),
        (TWO.replace("--label root", "") + "bootloader --ptable gpt\n", "", (1, 2)),
    ],
)
def test_what_a_layout_says(tmp_path: pathlib.Path, text: str, name: str, numbers: tuple[int, int]) -> None:
    path = tmp_path / "x.wks"
    path.write_text(f"# part / --source rootfs\n{text}")
    found = wks.read(path)
    assert wks.root_name(found, "0badcafe") == name
    assert tuple(found.only(boot=boot).number for boot in (True, False)) == numbers


def test_includes_are_read(tmp_path: pathlib.Path) -> None:
    (tmp_path / "boot.wks").write_text(
        'part loader1 --source rawcopy --sourceparams="file=idbloader.img"\n' + TWO.split("\n")[0]
    )
    (tmp_path / "board.wks").write_text(
        "include boot.wks\n" + TWO.split("\n")[1] + "\nbootloader --ptable gpt"
    )
    found = wks.read(tmp_path / "board.wks")
    assert [part.raw for part in found.parts] == ["idbloader.img", "", ""]
    assert found.only(boot=False).number == 3


def test_the_machines_layout_is_kept(tmp_path: pathlib.Path) -> None:
    (tmp_path / "board.wks").write_text(
        'part u --source rawcopy --sourceparams="file=u.bin" --no-table --align 32\npart fw --size 1\n' + TWO
    )
    own = {
        "WKS_FILE": "board.wks",
        "WKS_SEARCH_PATH": str(tmp_path),
        "OVERLAYROOT_DISK_SIGNATURE": "0badcafe",
    }
    d = image(**own)
    assert d.getVar("__SKIPPED") is None
    assert (d.getVar("OVERLAYROOT_UBOOT"), d.getVar("WKS_FILES")) == ("machine", "board.wks")
    assert d.getVar("OVERLAYROOT_ROOT") == "PARTUUID=0badcafe-03"
    assert "--signature 0badcafe --boot-number 2" in d.getVar("OVERLAYROOT_WIC_OPTIONS")
    # What it cannot have.
    for variables in ({"OVERLAYROOT_ROOTFS": "squashfs"}, {"OVERLAYROOT_DATA_SIZE": "64"}):
        assert image(**own, **variables).getVar("OVERLAYROOT_UBOOT") == "spi-nor"
        assert "cannot be kept" in refused(**own, **variables, OVERLAYROOT_UBOOT="machine")
        assert "puts u.bin on the card" in refused(**own, **variables)
    (tmp_path / "board.wks").write_text(TWO.replace("vfat", "ext4"))
    assert image(**own).getVar("OVERLAYROOT_UBOOT") == "spi-nor"
    # EFI needs a layout for EFI.
    (tmp_path / "board.wks").write_text(TWO)
    assert image(**PC, **own).getVar("OVERLAYROOT_UBOOT") == "efi"
    (tmp_path / "board.wks").write_text(TWO.replace("bootimg-partition", "bootimg_efi"))
    assert image(**PC, **own).getVar("OVERLAYROOT_UBOOT") == "machine"
    # Some that have a DOS table start from nothing else.
    data = {"OVERLAYROOT_DATA_SIZE": "64"}
    assert "has EFI on a DOS partition table" in refused(**PC, **own, **data)
    assert refused(**PC, **own, **data, OVERLAYROOT_UBOOT="efi") == ""


@pytest.mark.parametrize(
    ("route", "extra", "said"),
    [
        ("extlinux", "extlinux/extlinux.conf.bak", "another way to boot"),
        ("efi", "loader/entries/other.conf", "another way to boot"),
        ("efi", "EFI/Linux/other.efi", "another way to boot"),
        ("rpi", "autoboot.txt", "another way to boot"),
    ],
)
def test_nothing_else_boots(
    image: pathlib.Path, tmp_path: pathlib.Path, put, route: str, extra: str, said: str
) -> None:
    """On the finished card; `ours` stands for files of the way."""
    kernel = bytes(0x38) + b"ARM\x64" + b"Linux version 6.6"
    ours = {"extlinux": "extlinux/extlinux.conf", "efi": "loader/entries/boot.conf", "rpi": "config.txt"}[
        route
    ]
    put("kernel8.img", kernel)
    put(ours, b"ours")
    if route == "efi":
        put("EFI/BOOT/bootaa64.efi", b"MZ")
    (tmp_path / "ours").write_bytes(b"ours")
    (tmp_path / "kernel").write_bytes(kernel)
    subject = (
        image,
        {ours: tmp_path / "ours"},
        [("kernel8.img", tmp_path / "kernel")],
        (),
        routes.ROUTES[route],
    )
    image_without_script(image)
    assert wic.check(*subject) == []
    put(extra, b"x")
    (message,) = wic.check(*subject)
    assert message.lower().startswith(extra.lower()) and said in message


def image_without_script(path: pathlib.Path) -> None:
    """Takes the boot script off."""
    bb.process.run(["mdel", "-i", f"{path}@@4M", "::boot.scr"])


def test_efi_needs_a_boot_loader() -> None:
    assert "no EFI/BOOT/boot*.efi" in route_efi.card({"EFI/BOOT/grub.cfg": b""})[0]
    assert route_efi.card({"efi/boot/BOOTX64.EFI": b"MZ"}) == []


# --- FIT images

FIT = {
    "MACHINE": "board",
    "TARGET_ARCH": "aarch64",
    "KERNEL_IMAGETYPE": "fitImage",
    "IMAGE_BOOT_FILES": "fitImage boot.scr-board;boot.scr",
    "INITRAMFS_IMAGE": "overlayroot-initramfs",
}


def test_fit_by_our_script() -> None:
    d = image(**FIT)
    assert d.getVar("__SKIPPED") is None and d.getVar("OVERLAYROOT_BOOT") == "fit"
    carrier = "fitImage-overlayroot-initramfs-board-board"
    assert f"{carrier};fitImage" in d.getVar("IMAGE_BOOT_FILES").split()
    assert sorted(names(d)) == ["boot.scr", "fitImage", "overlayroot.env"]
    lines = written(d)["overlayroot.env"].splitlines()
    assert "ofs_kernel=fitImage" in lines and not [line for line in lines if line.startswith("ofs_fdt")]
    assert f"--kernel 'fitImage={d.getVar('DEPLOY_DIR_IMAGE')}/{carrier}'" in d.getVar(
        "OVERLAYROOT_WIC_OPTIONS"
    )
    # wrynose makes it in a recipe of its own.
    d = image(**FIT, KERNEL_CLASSES="kernel-fit-extra-artifacts")
    assert "linux-yocto-fitimage:do_deploy" in d.getVarFlag("do_image_wic", "depends").split()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"INITRAMFS_IMAGE": ""}, 'INITRAMFS_IMAGE:board = "overlayroot-initramfs"'),
        (
            {"IMAGE_BOOT_FILES": "fitImage", "OVERLAYROOT_BOOT": "fit"},
            "nobody knows whether board runs boot.scr",
        ),
        ({"TARGET_ARCH": "x86_64"}, "starts kernels of ARM, and board is x86_64"),
        ({"INITRAMFS_IMAGE_BUNDLE": "1", "OVERLAYROOT_BOOT": "fit"}, 'OVERLAYROOT_BOOT = "bundle"'),
        ({"IMAGE_BOOT_FILES": "fitImage Image boot.scr"}, "has Image, a second kernel"),
    ],
)
def test_no_fit(variables: dict[str, str], said: str) -> None:
    assert said in refused(**(FIT | variables))


def test_what_is_in_a_fit_image() -> None:
    whole = fitimage.make(b"kernel", b"tree", b"initramfs")
    assert content.kind(whole) == "kernel"
    assert route_fit.card({"fitImage": whole, "other": b"x"}) == []
    (message,) = route_fit.card({"FITIMAGE": fitimage.make(b"kernel", b"tree", None)})
    assert message.startswith("/configurations/conf-1 of the FIT image has no ramdisk")
    found = route_fit.card({"fitImage": fitimage.make(b"kernel", b"tree", b"initramfs", hashed=False)})
    assert [line.split()[0] for line in found] == ["kernel-1", "ramdisk-1", "fdt-1"]
    for cut in range(0, len(whole) - 1, 7):
        assert len(route_fit.card({"fitImage": whole[:cut]})) >= 1
    assert route_fit.card({"fitImage": b"\x27\x05\x19\x56" + bytes(60)}) == ["no FIT image"]


# --- Unified kernel images

UKI = PC | {"IMAGE_CLASSES": "uki", "INITRAMFS_IMAGE": "overlayroot-initramfs"}


def test_uki() -> None:
    d = image(**UKI)
    assert d.getVar("__SKIPPED") is None
    line = d.getVar("UKI_CMDLINE").split()
    assert line[0] == f"ofs-root={d.getVar('OVERLAYROOT_ROOT')}" and line[-1] == "root="
    assert "rootwait" not in line
    # The kernel is in there: no other one, and no entry for it.
    assert d.getVar("OVERLAYROOT_WKS_EFI") == "loader=systemd-boot,install-kernel-into-boot-dir=false"
    files = names(d, "IMAGE_EFI_BOOT_FILES")
    assert files == ["EFI/Linux/uki.efi", "loader/loader.conf", "loader/entries/boot.conf"]
    assert written(d)["loader/entries/boot.conf"] == "title none\n"
    options = d.getVar("OVERLAYROOT_WIC_OPTIONS")
    deploy = d.getVar("DEPLOY_DIR_IMAGE")
    assert f"--kernel 'EFI/Linux/uki.efi={deploy}/uki.efi' --plain-kernel '{deploy}/bzImage'" in options
    # A GPT has no signature.
    assert "--signature" not in options


def test_a_disk_with_a_uki(image: pathlib.Path, tmp_path: pathlib.Path, put) -> None:
    image_without_script(image)
    uki = b"MZ" + bytes(200) + b".linux\0"
    (tmp_path / "uki.efi").write_bytes(uki)
    (tmp_path / "bzImage").write_bytes(b"plain")
    put("EFI/BOOT/bootx64.efi", b"MZ")
    put("EFI/Linux/uki.efi", uki)
    kernels = [("EFI/Linux/uki.efi", tmp_path / "uki.efi")]
    subject = (image, {}, kernels, [tmp_path / "bzImage"], route_efi)
    assert wic.check(*subject) == []
    put("bzImage", b"plain")
    (message,) = wic.check(*subject)
    assert "bzImage on the boot partition is the kernel without the initramfs" in message


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"INITRAMFS_IMAGE": "core-image-minimal-initramfs"}, "is not OVERLAYROOT_INITRAMFS"),
        ({"EFI_PROVIDER": "grub-efi"}, "a UKI is started by systemd-boot"),
        ({"UKI_CMDLINE:forcevariable": "root=/dev/sda2"}, "UKI_CMDLINE is set to another command line"),
    ],
)
def test_no_uki(variables: dict[str, str], said: str) -> None:
    assert said in refused(**(UKI | variables), overrides="pn-${PN}:${MACHINEOVERRIDES}:forcevariable")
