# SPDX-License-Identifier: MIT
"""Make-believe boards for overlayroot-boot: folders with /sys and /proc, a boot script and device trees."""

import gzip
import os
import pathlib
import shutil
import struct
import subprocess

import uml

PACKAGE = uml.TOP / "debian/package"
COMMAND, HOOK = PACKAGE / "overlayroot-boot", PACKAGE / "kernel-hook"
CARD = "platform/soc/2198000.mmc/mmc_host/mmc3/mmc3:0001/block/mmcblk3"
MODEL, COMPATIBLE = b"Some Board\0", b"some,board\0fsl,imx6q\0"
MODULES = ("overlay", "dm-mod", "dm-bufio", "dm-verity", "loop", "f2fs")
CONFIG = "".join(f"CONFIG_{name}=y\n" for name in "BLK_DEV_INITRD RD_GZIP DEVTMPFS TMPFS TMPFS_XATTR".split())

MOUNTS = """20 1 179:98 / / rw,relatime shared:1 - ext4 /dev/mmcblk3p2 rw
21 20 179:97 / /boot/firmware rw shared:2 - vfat /dev/mmcblk3p1 rw
"""
PROTECTED = MOUNTS.replace("- ext4 /dev/mmcblk3p2 rw", "- overlay overlay rw,lowerdir=/mnt/root-RO")
COMMAND_LINE = "quiet console=tty1 console=ttymxc1,115200 root=/dev/mmcblk3p2 rootwait vendor=1\n"


def script(text: str) -> bytes:
    """An image as mkimage -T script makes it; nobody checks its sums here."""
    content = text.encode()
    header = struct.pack(">7I4B32s", 0x27051956, 0, 0, 8 + len(content), 0, 0, 0, 5, 2, 6, 0, b"old")
    return header + struct.pack(">2I", len(content), 0) + content


OLD_SCRIPT = script(
    """# what boards have
setenv bootargs "${bootargs} console=ttymxc1,115200 root=/dev/mmcblk3p2 rootwait vendor=1"
if load ${devtype} ${devnum}:1 ${kernel_addr_r} zImage; then
    load ${devtype} ${devnum}:1 ${fdt_addr_r} right.dtb
    load ${devtype} ${devnum}:1 ${ramdisk_addr_r} /initrd.img &&
        bootz ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt_addr_r}
fi
echo "no kernel; sorry"
"""
)
NEW_SCRIPT = b"ours: loads overlayroot.uInitrd\n"


def device_tree(model: bytes, nodes: dict | None = None) -> bytes:
    """A flattened device tree: properties of its root, and further ones and nodes by name."""
    strings = b""

    def node(name: str, content: dict) -> bytes:
        nonlocal strings
        data = struct.pack(">I", 1) + padded(name.encode() + b"\0")
        for key, value in sorted(content.items(), key=lambda item: isinstance(item[1], dict)):
            if isinstance(value, dict):
                data += node(key, value)
            else:
                data += padded(struct.pack(">3I", 3, len(value), len(strings)) + value)
                strings += key.encode() + b"\0"
        return data + struct.pack(">I", 2)

    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    top = {"model": model, "compatible": COMPATIBLE} | (nodes or {})
    structure = node("", top) + struct.pack(">I", 9)
    at = 56
    sizes = (
        at + len(structure) + len(strings),
        at,
        at + len(structure),
        40,
        17,
        16,
        0,
        len(strings),
        len(structure),
    )
    return struct.pack(">10I", 0xD00DFEED, *sizes) + bytes(16) + structure + strings


# What is in the file, and what U-Boot makes of it at each boot.
TREE = {"serial": {"status": b"okay\0"}, "ethernet": {"reg": b"\0\0\0\1"}, "aliases": {}}
BOOTED = TREE | {
    "ethernet": {"reg": b"\0\0\0\1", "local-mac-address": b"\2\0\0\0\0\1"},
    "chosen": {"bootargs": COMMAND_LINE.strip().encode() + b"\0"},
    "memory@10000000": {"reg": bytes(8)},
    "serial-number": b"0\0",
}


def write(path: pathlib.Path, content: str | bytes = "") -> pathlib.Path:
    """Makes a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def program(path: pathlib.Path, script: str) -> None:
    """Makes a shell script that stands for a program."""
    write(path, f"#!/bin/sh\n{script}\n").chmod(0o755)


def link(path: pathlib.Path, target: pathlib.Path) -> None:
    """Makes a relative link, as those of /sys are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))


class Fake:
    """A board in a folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        """An SD card with a boot partition and a root on ext4, as many boards have it."""
        self.root, self.programs = folder / "root", folder / "bin"
        self.boot = self.root / "boot/firmware"
        self.release = uml.setting("OVERLAYROOT_UML_MODULES").name
        write(self.root / "proc/self/mountinfo", MOUNTS)
        write(self.root / "proc/sys/kernel/osrelease", f"{self.release}\n")
        write(self.root / "proc/filesystems", "nodev\tproc\n\text4\n")
        self.command_line(COMMAND_LINE)
        write(self.root / "proc/device-tree/chosen/linux,initrd-start", bytes(4))
        write(self.root / "sys/firmware/fdt", device_tree(MODEL, BOOTED))
        write(self.root / "proc/device-tree/model", MODEL)
        write(self.root / "proc/device-tree/compatible", COMPATIBLE)
        devices = self.root / "sys/devices"
        for number in (1, 2):
            part = devices / CARD / f"mmcblk3p{number}"
            write(part / "partition", f"{number}\n")
            write(part / "dev", f"179:{96 + number}\n")
            link(self.root / f"sys/dev/block/179:{96 + number}", part)
            link(self.root / f"dev/disk/by-partuuid/1234-0{number}", self.root / f"dev/mmcblk3p{number}")
        # The host controller's driver is dm-verity, its regulator's is loop; the card's is built in.
        self.driver("platform/soc/2198000.mmc", "dm_verity")
        self.driver("platform/regulator", "loop")
        link(devices / "virtual/devlink/1/supplier", devices / "platform/regulator")
        link(devices / "platform/soc/2198000.mmc/supplier:platform:regulator", devices / "virtual/devlink/1")
        self.driver(str(pathlib.Path(CARD).parents[1]), "mmc_block", loaded=False)
        self.kernel(self.release)
        for name, content in {
            "boot.scr": OLD_SCRIPT,
            "zImage": f"kernel {self.release}",
            "right.dtb": device_tree(MODEL, TREE),
            "other.dtb": device_tree(b"Some Board too\0", TREE),
        }.items():
            write(self.boot / name, content)
        share = self.root / "usr/lib/overlayroot"
        write(share / "boot.scr", NEW_SCRIPT)
        shutil.copy(uml.setting("OVERLAYROOT_INIT"), share)
        shutil.copytree(PACKAGE / "boot", share / "boot")
        write(self.root / "etc/overlayroot/overlayroot.conf", "overlayfs=yes\nsize=30%\n")
        # The host's disk is not waited for; there is no environment of U-Boot.
        program(self.programs / "sync", "exit 0")
        program(self.programs / "fw_printenv", "exit 1")
        program(self.programs / "blkid", "echo filesystem")

    def command_line(self, line: str) -> None:
        """What U-Boot has given to the kernel, and what that shows."""
        write(self.root / "proc/cmdline", line)
        write(self.root / "proc/device-tree/chosen/bootargs", line.strip().encode() + b"\0")

    def environment(self, **variables: str) -> None:
        """Variables of U-Boot that can be read."""
        folder = self.root.with_name("environment")
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in variables.items():
            write(folder / name, f"{value}\n")
        folder.mkdir(exist_ok=True)
        program(self.programs / "fw_printenv", f'[ $# -eq 0 ] || cat "{folder}/$2"')

    def driver(self, device: str, name: str, *, loaded: bool = True) -> None:
        """Gives a device a driver: a module, or a part of the kernel."""
        module = self.root / "sys/module" / name
        module.mkdir(parents=True)
        if loaded:
            write(module / "initstate", "live\n")
        link(self.root / "sys/devices" / device / "driver/module", module)

    def kernel(self, release: str, modules: tuple[str, ...] = MODULES, packed: str = "") -> None:
        """Installs a kernel; its modules are compressed by a program."""
        folder = self.root / "lib/modules" / release
        shutil.rmtree(folder, ignore_errors=True)
        source = uml.setting("OVERLAYROOT_UML_MODULES")
        for name in modules:
            write(folder / f"kernel/{name}.ko", uml.module(name).read_bytes())
            if packed:
                uml.run(*packed.split(), folder / f"kernel/{name}.ko")
        for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
            if modules:
                shutil.copy(source / name, folder)
        folder.mkdir(parents=True, exist_ok=True)
        uml.run("depmod", "--basedir", self.root, release)
        write(self.root / f"boot/vmlinuz-{release}", f"kernel {release}")
        write(self.root / f"boot/config-{release}", CONFIG)

    def run(self, *words: str, code: int = 0, command: pathlib.Path = COMMAND) -> str:
        """What the command says; it has to end with this status."""
        temporary = self.root.with_name("tmp")
        temporary.mkdir(exist_ok=True)
        done = subprocess.run(
            [command, *words],
            env={
                "PATH": f"{self.programs}:{os.environ['PATH']}",
                "OVERLAYROOT_ROOT": str(self.root),
                "TMPDIR": str(temporary),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def refuses(self, message: str) -> None:
        """Nothing is installed, for this reason and with a remedy, and nothing is written."""
        before = self.files()
        said = self.run("install", code=3)
        assert message in said
        assert "\nremedy: " in said
        assert self.files() == before

    def hook(self, name: str, release: str) -> str:
        """Runs a hook of kernel packages."""
        hook = self.root / f"etc/kernel/{name}"
        hook.parent.mkdir(parents=True, exist_ok=True)
        if not hook.exists():
            hook.symlink_to(HOOK)
        (self.programs / "overlayroot-boot").unlink(missing_ok=True)
        (self.programs / "overlayroot-boot").symlink_to(COMMAND)
        return self.run(release, command=hook)

    def files(self) -> dict[str, bytes]:
        """Content of the boot partition."""
        return {str(p.relative_to(self.boot)): p.read_bytes() for p in self.boot.rglob("*") if p.is_file()}

    def initramfs(self) -> dict[str, bytes]:
        """Files of the initramfs."""
        folder = self.root.with_name("unpacked")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        # Behind U-Boot's header.
        data = gzip.decompress((self.boot / "overlayroot.uInitrd").read_bytes()[64:])
        subprocess.run(["cpio", "-idm", "--quiet"], cwd=folder, input=data, check=True)
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    def modules(self) -> list[str]:
        """What the init will load, in order: release and name."""
        lines = self.initramfs()["etc/overlayroot.modules"].decode().splitlines()
        return [line.removeprefix("/lib/modules/") for line in lines if not line.startswith("#")]
