# SPDX-License-Identifier: MIT
"""The layer's Python code: values of variables, and the checks that an image has to pass. No BitBake."""

import pathlib
import subprocess

import pytest
from overlayroot import checks, layout, modules, route_script, routes, settings, variables, verity, wic

DEFAULTS = {
    "OVERLAYROOT_OVERLAYFS": "yes",
    "OVERLAYROOT_SIZE": "20%",
    "OVERLAYROOT_DIRTY": "replay",
    "OVERLAYROOT_FAIL": "ladder",
    "OVERLAYROOT_LOCK": "no",
    "OVERLAYROOT_WAIT": "30",
    "OVERLAYROOT_REBOOT_DELAY": "10",
    "OVERLAYROOT_ROOTFS": "ext4",
    "OVERLAYROOT_UBOOT": "spi-nor",
    "OVERLAYROOT_BOOT": "script",
    "OVERLAYROOT_UBOOT_ENV": "0",
    "OVERLAYROOT_VERITY": "0",
    "OVERLAYROOT_VERITY_ERROR": "eio",
    "OVERLAYROOT_VERITY_DIR": "/build/sealed",
    "OVERLAYROOT_KERNEL_MODULES": "0",
    "OVERLAYROOT_KERNEL_OLD": "0",
    "OVERLAYROOT_BOOT_SIZE": "64",
    "OVERLAYROOT_DATA_SIZE": "",
    "OVERLAYROOT_DATA_MOUNT": "/data",
    "OVERLAYROOT_DISK_SIGNATURE": "0badcafe",
    "OVERLAYROOT_ROOT": "PARTUUID=0badcafe-02",
    "OVERLAYROOT_BOOT_SCRIPTS": "boot.scr 6x_bootscript",
    "OVERLAYROOT_INITRAMFS": "overlayroot-initramfs",
    "IMAGE_BASENAME": "image",
    "KERNEL_IMAGETYPE": "zImage",
    "TARGET_ARCH": "arm",
    "OVERLAYROOT_BOOT_ENV": "",
    "MACHINE": "board",
    "IMAGE_MACHINE_SUFFIX": "-board",
    "DEPLOY_DIR_IMAGE": "/deploy",
    "SERIAL_CONSOLES": "115200;ttymxc1",
    "UBOOT_ENTRYPOINT": "0x10008000",
    "KERNEL_DEVICETREE": "nxp/imx/imx6q-nitrogen6x.dtb other.dtb",
}


class Store(dict):
    """Stands in for BitBake's datastore."""

    def getVar(self, name: str, expand: bool = True) -> str | None:
        """Value of a variable."""
        return self.get(name)


def store(**values: str) -> Store:
    return Store(DEFAULTS | values)


# --- Variables.


def test_configuration_is_what_the_init_reads() -> None:
    text = settings.configuration(DEFAULTS)
    assert "overlayfs=yes\nsize=20%\ndirty=replay\nfail=ladder\nlock=no\nverity-error=eio\n" in text
    assert text.endswith("wait=30\nreboot-delay=10\n")


@pytest.mark.parametrize("size", ["20", "100%", "64M", "1G", "65536k", "64M,20000", "10%,20k"])
def test_sizes(size: str) -> None:
    assert f"size={size}\n" in settings.configuration(DEFAULTS | {"OVERLAYROOT_SIZE": size})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("OVERLAYROOT_SIZE", value) for value in ("", "0", "101", "64X", "-1", "M", "64M,", "64M,0")),
        ("OVERLAYROOT_OVERLAYFS", "maybe"),
        ("OVERLAYROOT_DIRTY", "Replay"),
        ("OVERLAYROOT_FAIL", "shell"),
        ("OVERLAYROOT_VERITY_ERROR", "ignore"),
        ("OVERLAYROOT_WAIT", "0"),
        ("OVERLAYROOT_WAIT", "3601"),
        ("OVERLAYROOT_REBOOT_DELAY", "soon"),
    ],
)
def test_bad_settings(name: str, value: str) -> None:
    with pytest.raises(settings.BadSettingError, match=name) as error:
        settings.configuration(DEFAULTS | {name: value})
    assert "accepted: " in str(error.value)


def test_unknown_variables_get_a_hint() -> None:
    known = ["OVERLAYROOT_SIZE", "OVERLAYROOT_ROOTFS"]
    names = ["OVERLAYROOT_SIZES", "OVERLAYROOT_SIZE:board", "OVERLAYROOT_XYZZY", "OTHER_SIZES"]
    first, second = variables.unknown(names, known)
    assert first == "OVERLAYROOT_SIZES is no variable of meta-overlayroot: did you mean OVERLAYROOT_SIZE?"
    assert second.startswith("OVERLAYROOT_XYZZY is no variable") and "docs/variables.md" in second


def test_good_values_are_no_matter() -> None:
    assert variables.bad_values(DEFAULTS) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OVERLAYROOT_ROOTFS", "btrfs"),
        ("OVERLAYROOT_UBOOT", "sd"),
        ("OVERLAYROOT_BOOT", ""),
        ("OVERLAYROOT_BOOT_SIZE", "64M"),
        ("OVERLAYROOT_DATA_SIZE", "0"),
        ("OVERLAYROOT_DATA_MOUNT", "data"),
        ("OVERLAYROOT_DISK_SIGNATURE", "00000000"),
        ("OVERLAYROOT_DISK_SIGNATURE", "0BADCAFE"),
    ],
)
def test_bad_values(name: str, value: str) -> None:
    (message,) = variables.bad_values(DEFAULTS | {name: value})
    assert message.startswith(f'{name} = "{value}" cannot be used')


def test_disk_signatures_differ_and_are_stable() -> None:
    first = variables.signature("distro", "board", "image")
    assert (
        first
        == variables.signature("distro", "board", "image")
        != variables.signature("distro", "board", "x")
    )
    assert variables.bad_values(DEFAULTS | {"OVERLAYROOT_DISK_SIGNATURE": first}) == []


# --- What goes where.


def test_boot_files() -> None:
    assert routes.boot_files(store(), "IMAGE_BOOT_FILES").split() == [
        "boot.scr-overlayroot;boot.scr",
        "boot.scr-overlayroot;6x_bootscript",
        "overlayroot-initramfs-board.cpio.gz.u-boot;overlayroot.uInitrd",
        "image-board.overlayroot.env;overlayroot.env",
    ]
    assert routes.boot_files(store(OVERLAYROOT_BOOT="bundle"), "IMAGE_BOOT_FILES") == ""
    assert routes.boot_files(store(), "IMAGE_EFI_BOOT_FILES") == ""
    # A distribution may name images without the machine.
    assert layout.initramfs_file(store(IMAGE_MACHINE_SUFFIX="")) == "overlayroot-initramfs.cpio.gz"


def test_environment_of_the_image() -> None:
    lines = route_script.environment(store(OVERLAYROOT_BOOT_ENV=r"a=1\nb=2")).splitlines()
    assert lines[1:] == [
        "ofs_root=PARTUUID=0badcafe-02",
        "ofs_default_overlayfs=yes",
        "ofs_default_size=20%",
        "ofs_console=ttymxc1",
        "ofs_ram=0x1",
        "ofs_fdt=imx6q-nitrogen6x.dtb",
        "a=1",
        "b=2",
    ]


@pytest.mark.parametrize(
    ("machine_has", "place"),
    [
        ("sdimage-bootpart.wks", "spi-nor"),
        ("imx-uboot-bootpart.wks.in", "card"),
        (" imx-uboot-spl-bootpart.wks.in", "card-spl"),
        ("", "spi-nor"),
    ],
)
def test_place_of_u_boot(machine_has: str, place: str) -> None:
    assert layout.uboot_place(store(OVERLAYROOT_MACHINE_WKS=machine_has)) == place


def test_signature_is_only_set_where_it_names_the_root() -> None:
    assert "--signature 0badcafe" in layout.wic_options(store())
    assert "--signature" not in layout.wic_options(store(OVERLAYROOT_ROOT="LABEL=rootfs"))


# --- Files of the root.

ROOTS = {"PARTUUID=0badcafe-02", "/dev/root", "LABEL=rootfs"}


@pytest.mark.parametrize(
    "line",
    [
        "/dev/root / auto defaults 1 1",
        "PARTUUID=0badcafe-02 /mnt/x ext4 ro,noatime 0 0",
        "# LABEL=rootfs /mnt/x ext4 defaults 0 0",
        "tmpfs /run tmpfs mode=0755 0 0",
        "LABEL=ofs-data /data ext4 noatime,nofail 0 2",
    ],
)
def test_fstab_in_order(line: str) -> None:
    assert checks.fstab(f"# x\n{line}\n", ROOTS) == []


@pytest.mark.parametrize(
    "line",
    [
        "PARTUUID=0badcafe-02 /mnt/x ext4 defaults 0 0",
        "LABEL=rootfs /x ext4 rw 0 0",
        "x /mnt/root-RO ext4 rw 0 0",
    ],
)
def test_fstab_that_opens_the_root(line: str) -> None:
    (message,) = checks.fstab(f"\n{line}\n", ROOTS)
    assert message.startswith("/etc/fstab line 2 mounts the real root writable on /")


def test_inittab() -> None:
    text = "id:5:initdefault:\n# ::sysinit:/bin/mount -o remount,rw /\n::sysinit:/bin/mount -o remount,rw /\n"
    (message,) = checks.inittab(text)
    assert message.startswith("/etc/inittab line 3 remounts the root writable")


def test_root_without_init(tmp_path: pathlib.Path) -> None:
    (message,) = checks.rootfs(str(tmp_path), ROOTS)
    assert message.startswith("no init in the image")
    (tmp_path / "sbin").mkdir()
    # A link that leads nowhere as long as it is looked at from outside.
    (tmp_path / "sbin/init").symlink_to("/lib/systemd/systemd")
    assert checks.rootfs(str(tmp_path), ROOTS) == []


def test_initramfs(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "initramfs"
    for most in ("", "2"):
        (message,) = checks.initramfs(str(path), most)
        assert message.startswith(f"{path} is missing: the recipe that OVERLAYROOT_INITRAMFS names")
    path.write_bytes(bytes(2049))
    assert checks.initramfs(str(path), "") == checks.initramfs(str(path), "3") == []
    (message,) = checks.initramfs(str(path), "2")
    assert "has 2049 bytes, more than INITRAMFS_MAXSIZE = 2 KiB" in message


# --- Modules of an initramfs.


@pytest.fixture
def initramfs(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "lib/modules/6.12.1"
    folder.mkdir(parents=True)
    (folder / "modules.dep").write_text(
        "kernel/ext4.ko.xz: kernel/jbd2.ko.xz kernel/crc16.ko.xz\nkernel/jbd2.ko.xz:\nkernel/crc16.ko.xz:\n"
        "kernel/mmc-block.ko.xz: kernel/mmc_core.ko.xz\nkernel/mmc_core.ko.xz:\n"
    )
    return tmp_path


def test_module_order(initramfs: pathlib.Path) -> None:
    top = "/lib/modules/6.12.1/kernel"
    assert modules.load_order(str(initramfs), ["mmc_block", "ext4", "jbd2"]) == [
        f"{top}/{name}.ko.xz" for name in ("mmc_core", "mmc-block", "crc16", "jbd2", "ext4")
    ]


def test_missing_modules(initramfs: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(modules.ModuleError, match="no kernel module overlay"):
        modules.load_order(str(initramfs), ["overlay"])
    with pytest.raises(modules.ModuleError, match="no kernel modules in the initramfs"):
        modules.load_order(str(tmp_path_factory.mktemp("empty")), ["ext4"])


# --- The finished image.


def test_no_partitions(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.wic"
    path.write_bytes(bytes(4096))
    with pytest.raises(wic.ImageError, match="has no partition table"):
        wic.partitions(path)


# --- A sealed root.


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """A file system of 4 MiB."""
    path = tmp_path / "root.ext4"
    path.write_bytes(bytes(4 << 20))
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-b", "4096", path], check=True)
    return path


def test_sealing_gives_the_same_each_time(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    first, second = verity.seal(root, tmp_path / "a"), verity.seal(root, tmp_path / "b")
    assert first == second
    assert first.endswith(f"@{4 << 20}")
    sealed = (tmp_path / "a").read_bytes()
    assert sealed == (tmp_path / "b").read_bytes()
    assert sealed[: 4 << 20] == root.read_bytes()
    assert sealed[4 << 20 :].startswith(b"verity\0\0")
    assert not list(tmp_path.glob("*.part"))


def test_changed_block_does_not_fit(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """What the build runs over each sealed root can fail."""
    word, _, offset = verity.seal(root, tmp_path / "sealed").partition("@")
    data = bytearray((tmp_path / "sealed").read_bytes())
    data[1 << 20] ^= 1
    (tmp_path / "sealed").write_bytes(data)
    with pytest.raises(verity.VerityError, match="veritysetup verify"):
        sealed = tmp_path / "sealed"
        verity.veritysetup("verify", f"--hash-offset={offset}", sealed, sealed, word)


@pytest.mark.parametrize(("size", "block"), [(0, 1024), (1, 2048), (2, 4096), (6, 4096)])
def test_blocks_are_those_of_the_file_system(size: int, block: int) -> None:
    start = bytearray(2048)
    assert verity.data_block(start) == 4096
    start[1024 + 56 : 1024 + 58], start[1024 + 24] = b"\x53\xef", size
    assert verity.data_block(start) == block


def test_sealing_by_hand(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    env = tmp_path / "env"
    assert verity.main([str(root), str(tmp_path / "sealed"), "--env", str(env)]) == 0
    assert env.read_text().startswith("ofs_verity=")
    root.write_bytes(b"")
    assert verity.main([str(root), str(tmp_path / "sealed")]) == 1


def test_verified_root_on_the_card(tmp_path: pathlib.Path) -> None:
    d = store(OVERLAYROOT_VERITY="1", OVERLAYROOT_VERITY_DIR=str(tmp_path))
    assert layout.root_partition(d) == f'--source rawcopy --sourceparams="file={tmp_path}/root.img"'
    assert layout.root_partition(store()).startswith("--source rootfs --fstype=ext4 --label rootfs ")
    assert layout.root_partition(store(OVERLAYROOT_ROOTFS="erofs")) == "--source rootfs --fstype=erofs"
    assert (layout.sealed_type(d), layout.sealed_type(store())) == (" ext4.ofsverity", "")
    assert layout.ext4_options(d).startswith(" -b 4096 -O ") and "^has_journal" in layout.ext4_options(d)
    assert layout.ext4_options(store()) == "" and "has_journal" not in layout.root_partition(store())
    assert (
        f"{tmp_path}/image-board.overlayroot.env;overlayroot.env"
        in routes.boot_files(d, "IMAGE_BOOT_FILES").split()
    )
    assert f"--boot-file 'overlayroot.env={tmp_path}/image-board.overlayroot.env'" in routes.wic_options(d)
    assert f"--verified '{tmp_path}/root.img'" in routes.wic_options(d)
    (tmp_path / "verity.env").write_text("ofs_verity=abc@4096\n")
    routes.write_texts(d, str(tmp_path), layout.root_hash(d))
    text = (tmp_path / "image-board.overlayroot.env").read_text()
    assert text == route_script.environment(store()) + "ofs_verity=abc@4096\n"


def test_sealed_root_is_looked_for(image: pathlib.Path, tmp_path: pathlib.Path) -> None:
    sealed = tmp_path / "sealed"
    with image.open("rb") as file:
        file.seek(4 << 20)
        sealed.write_bytes(file.read(2 << 20))
    assert wic.main([str(image), "--verified", str(sealed)]) == 0
    with sealed.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"x")
    assert wic.main([str(image), "--verified", str(sealed)]) == 1


def test_what_cannot_be_sealed() -> None:
    assert variables.not_sealed(store()) == []
    on = {"OVERLAYROOT_VERITY": "1", "BBFILE_COLLECTIONS": "core openembedded-layer"}
    for types in ("ext4 wic.gz wic.bmap", "wic", "ext4.ofsverity.zst"):
        assert variables.not_sealed(store(**on, IMAGE_FSTYPES=types)) == []
    (message,) = variables.not_sealed(store(**on, IMAGE_FSTYPES="tar.gz ext4"))
    assert message.endswith("a root alone, ext4.ofsverity")
    (message,) = variables.not_sealed(
        store(**(on | {"BBFILE_COLLECTIONS": "core overlayroot"}), IMAGE_FSTYPES="wic")
    )
    assert message.endswith("bitbake-layers add-layer ../meta-openembedded/meta-oe")


# --- The signature.


def test_signature_is_what_the_kernel_reads(image: pathlib.Path) -> None:
    before = subprocess.run(["sfdisk", "--disk-id", image], capture_output=True, text=True, check=True).stdout
    if "-" in before:  # a GPT has an identity of its own
        with pytest.raises(wic.ImageError, match="has a GPT, so there is no root=PARTUUID=0badcafe-02"):
            wic.sign(image, "0badcafe")
        return
    wic.sign(image, "0badcafe")
    shown = subprocess.run(["sfdisk", "--disk-id", image], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "0x0badcafe"
