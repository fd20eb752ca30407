# SPDX-License-Identifier: MIT
"""An emulated i.MX6 board: QEMU's `sabrelite` with an unmodified SD image and Debian's U-Boot.

Two quirks of the emulator are worked around here and nowhere else, so that images and U-Boot are those of
a real board:

* Its SD host controller drops commands while the three clock enable bits of SYS_CTRL are clear, which
  real hardware ignores and U-Boot leaves so: one instruction of U-Boot is changed as it is loaded.
* A DMA read that begins on a multiple of 512 KiB never ends: the load addresses are moved by 512 bytes,
  by variables of U-Boot's environment.
"""

import contextlib
import hashlib
import os
import pathlib
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator

import uboot_environment

# U-Boot's environment in the SPI NOR flash (nitrogen6q_defconfig: CONFIG_ENV_OFFSET, CONFIG_ENV_SIZE).
NOR_SIZE, ENV_OFFSET, ENV_SIZE = 2 << 20, 0xC0000, 0x2000
ENV_AREA = slice(ENV_OFFSET, ENV_OFFSET + ENV_SIZE)

# Thumb code of esdhc_set_clock(): `bic r3, r3, #15` becomes `orr r3, r3, #7`.
CLOCK_CODE = bytes.fromhex("6ff30f1344ea06241c43ec62")
CLOCK_PATCH = bytes.fromhex("43f0070344ea06241c43ec62")

# What this board's environment says besides the defaults of its U-Boot.
QUIRKS = {
    "kernel_addr_r": "0x12000200",
    "ramdisk_addr_r": "0x14000200",
    "fdt_addr_r": "0x18000200",
    "scriptaddr": "0x11000200",
    # The card is in the fourth slot, the only one that the emulator has.
    "bootcmd_mmc3": "devnum=3; run mmc_boot",
    "boot_targets": "mmc3",
    "fdt_file": "imx6q-sabrelite.dtb",
    # No USB to wait for, and time to stop it.
    "preboot": "",
    "bootdelay": "2",
    # Drivers that take minutes to load under emulation, for hardware that is not there. And the emulated
    # watchdog, once started, forgets how to reset the board at a reboot: systemd must not start it.
    "bootargs": "modprobe.blacklist=etnaviv,imx_ipu_v3,imxdrm,imx_ldb,dw_hdmi_imx,parallel_display,"
    "panel_simple,coda_vpu,imx_media_common,imx6_media,imx6_media_csi,imx6_mipi_csi2,video_mux,ov5640,caam,"
    "snd_soc_sgtl5000,snd_soc_fsl_ssi,snd_soc_fsl_asoc_card,snd_soc_imx_audmux,"
    "snd_soc_imx_sgtl5000,flexcan,imx_thermal,imx_sdma,phy_mxs_usb,usb_phy_generic,ci_hdrc_imx,usbmisc_imx,"
    "ahci_imx,fec,pwm_imx27,cfg80211 "
    "systemd.watchdog_device=/dev/none "
    # On a busy machine the console itself comes late, and journald has taken 53 s to start. systemd gives a
    # service 90, and three minutes between two signs of life.
    "systemd.default_device_timeout_sec=900 systemd.default_timeout_start_sec=900 "
    "systemd.service_watchdogs=no",
}


class EmulatorError(Exception):
    """Something that the emulator needs is missing or not as expected."""


def default_environment(u_boot: bytes) -> dict[str, str]:
    """The environment compiled into a U-Boot image: `name=value` strings, ended by an empty one."""
    at = u_boot.find(b"bootcmd=")
    start = u_boot.rfind(b"\0\0", 0, at) + 2
    end = u_boot.find(b"\0\0", at)
    if at < 0 or end < 0:
        raise EmulatorError("this U-Boot has no default environment")
    words = u_boot[start:end].lstrip(b"\0").decode().split("\0")
    return dict(word.split("=", 1) for word in words)


class Board:
    """A board in a folder: its SD card, its NOR flash, its U-Boot."""

    def __init__(self, folder: pathlib.Path, image: pathlib.Path, *, fresh: bool = True) -> None:
        """Makes the board anew, or takes up what `folder` holds: then `image` may be newer than its card.

        OVERLAYROOT_QEMU and OVERLAYROOT_U_BOOT say where the programs are (`scripts/board-env`).
        """
        try:
            self.qemu, u_boot = os.environ["OVERLAYROOT_QEMU"], os.environ["OVERLAYROOT_U_BOOT"]
        except KeyError as missing:
            raise EmulatorError(f'{missing} is not set; eval "$(scripts/board-env)"') from missing
        self.card, self.flash = folder / "sd.img", folder / "spi.img"
        self.u_boot = folder / "u-boot.imx"
        # What its environment says besides the defaults; a test that changes it also calls set_environment().
        self.quirks = dict(QUIRKS)
        # Logs of all writes to "flash" and "card", when a test asks for them (writelog.py).
        self.write_logs: dict[str, pathlib.Path] = {}
        folder.mkdir(parents=True, exist_ok=True)
        code = pathlib.Path(u_boot).read_bytes()
        if code.count(CLOCK_CODE) != 1:
            raise EmulatorError(f"{u_boot}: the code of esdhc_set_clock() is not the expected one")
        self.u_boot.write_bytes(code.replace(CLOCK_CODE, CLOCK_PATCH))
        if not fresh and self.card.exists() and self.card.stat().st_mtime > image.stat().st_mtime:
            return
        flash = bytearray(b"\xff" * NOR_SIZE)
        flash[ENV_AREA] = uboot_environment.pack(default_environment(code) | self.quirks, ENV_SIZE)
        self.flash.write_bytes(flash)
        self.insert(image)

    def insert(self, image: pathlib.Path) -> None:
        """Puts a copy of `image` in; the size of an emulated card must be a power of two."""
        subprocess.run(["cp", "--sparse=always", image, self.card], check=True)
        size = self.card.stat().st_size
        os.truncate(self.card, 1 << (size - 1).bit_length())

    def environment(self) -> dict[str, str]:
        """U-Boot's environment as it is in the flash now."""
        return uboot_environment.unpack(self.flash.read_bytes()[ENV_AREA])

    def set_environment(self, **changes: str) -> None:
        """Changes the environment in the flash while the board is off; an empty value removes."""
        flash = bytearray(self.flash.read_bytes())
        flash[ENV_AREA] = uboot_environment.pack(self.environment() | changes, ENV_SIZE)
        self.flash.write_bytes(flash)

    @contextlib.contextmanager
    def recorded(self, device: str, log: pathlib.Path) -> Iterator[None]:
        """Each write to "flash" or "card" goes to a log as well, for one power-on within this context."""
        log.write_bytes(b"")
        self.write_logs[device] = log
        try:
            yield
        finally:
            del self.write_logs[device]

    def judge_flash(self, flash: pathlib.Path, *, seconds: int = 120) -> bool:
        """Whether U-Boot itself accepts the environment in a flash image, or takes its built-in one."""
        with subprocess.Popen(
            self.argv(flash=flash), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            watchdog = threading.Timer(seconds, process.kill)
            watchdog.start()
            said = b""
            try:
                for line in process.stdout:
                    said += line
                    if b"using default environment" in said:
                        return False
                    if b"Loading Environment" in said and line.strip().endswith(b"OK"):
                        return True
            finally:
                watchdog.cancel()
                process.kill()
        raise EmulatorError(f"U-Boot said nothing about its environment in {seconds} s: {said!r}")

    def root_partition(self) -> tuple[int, int]:
        """Where the card's second partition (DOS partition table) begins, and its length, in bytes."""
        with self.card.open("rb") as card:
            start, length = struct.unpack_from("<II", card.read(512), 446 + 16 + 8)
        return start * 512, length * 512

    def root_hash(self) -> str:
        """SHA-256 of that partition; for a board that is off."""
        start, left = self.root_partition()
        with self.card.open("rb") as card:
            card.seek(start)
            digest = hashlib.sha256()
            while left:
                block = card.read(min(left, 1 << 20))
                if not block:
                    raise EmulatorError(f"{self.card} ends within its second partition")
                digest.update(block)
                left -= len(block)
        return digest.hexdigest()

    def argv(self, console: str = "stdio", flash: pathlib.Path | None = None) -> list[str]:
        """The command that switches the board on.

        `console` is QEMU's word for where its console goes; `flash` another flash image than the board's.
        """

        def medium(device: str, file: pathlib.Path) -> str:
            if log := self.write_logs.get(device):
                node = f"driver=blklogwrites,file.driver=file,file.filename={file}"
                return f"{node},log.driver=file,log.filename={log}"
            return f"format=raw,file={file}"

        nor = f"format=raw,file={flash}" if flash else medium("flash", self.flash)
        return [
            *(self.qemu, "-M", "sabrelite", "-m", "1G", "-smp", "1", "-nic", "none"),
            # The console is the second serial port, ttymxc1.
            *("-display", "none", "-serial", "null", "-serial", console),
            *("-device", f"loader,file={self.u_boot},addr=0x177ff400,force-raw=on"),
            *("-device", "loader,addr=0x17800000,cpu-num=0"),
            *("-drive", f"if=mtd,{nor}"),
            # A write is on the card when the guest is told so: a cut leaves what a real card would have.
            *("-drive", f"if=none,id=card,{medium('card', self.card)},cache=writethrough"),
            *("-device", "sd-card,drive=card"),
        ]


def main() -> None:
    """The interactive console; arguments: folder of the board, `--fresh`."""
    image = pathlib.Path(os.environ["OVERLAYROOT_IMAGE"])
    board = Board(pathlib.Path(sys.argv[1]), image, fresh="--fresh" in sys.argv)
    print("Ctrl-A X pulls the plug; any key within two seconds stops at U-Boot's prompt.", flush=True)
    command = board.argv("mon:stdio")
    os.execv(command[0], command)  # noqa: S606 # the emulator takes over


if __name__ == "__main__":
    main()
