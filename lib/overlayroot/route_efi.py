# SPDX-License-Identifier: MIT
"""OVERLAYROOT_BOOT = "efi": the firmware starts GRUB, systemd-boot (EFI_PROVIDER), or a UKI by systemd-boot.

wic's plugin bootimg-efi brings the boot loader and the kernel. The files with which it would start the kernel
by itself are replaced by ours: IMAGE_EFI_BOOT_FILES comes last there. With oe-core's uki.bbclass kernel,
initramfs and command line are one file, which may be signed: no file beside it counts.
"""

import re

from . import boards, bootpart, cmdline, layout, route_bundle

VARIABLE, TEXT_DEPENDS, TAKES_INITRAMFS = "IMAGE_EFI_BOOT_FILES", (), True
# Boot loaders that the firmware starts by itself.
FIRMWARE = r"efi/boot/boot[0-9a-z]+\.efi|startup\.nsh"

INITRAMFS = "overlayroot.cpio.gz"
GRUB, GRUB_ENVIRONMENT = "EFI/BOOT/grub.cfg", "EFI/BOOT/grubenv"
LOADER, ENTRY, WRITABLE = (
    "loader/loader.conf",
    "loader/entries/boot.conf",
    "loader/entries/overlayroot-writable.conf",
)
PROVIDERS = ("grub-efi", "systemd-boot")


def claims(d) -> bool:
    """A machine with EFI."""
    return "efi" in boards.words(d.getVar("MACHINE_FEATURES"))


def is_uki(d) -> bool:
    """Whether the image makes a unified kernel image."""
    try:
        import bb.data
    except ImportError:
        return False
    return bb.data.inherits_class("uki", d)


def uki_line(d) -> str:
    """UKI_CMDLINE of such an image."""
    return cmdline.line(d, "", _more(d))


def source_parameters(d) -> str:
    """Parameters of wic's plugin: which boot loader; beside a UKI there is no other kernel."""
    parameters = f"loader={d.getVar('EFI_PROVIDER') or ''}"
    return parameters + (",install-kernel-into-boot-dir=false" if is_uki(d) else "")


def _more(d) -> list:
    return cmdline.without_root(d.getVar("APPEND")) + cmdline.consoles(d)


def _kernel(d) -> str:
    return (boards.kernel_types(d) or [""])[0]


def grub(d, verity: str) -> str:
    """Text of grub.cfg. A request for one writable boot is used up, and that saved, before it is granted."""
    lines = {text: cmdline.line(d, verity, _more(d), overlayfs=text) for text in ("${ofs}", "no")}
    default = d.getVar("OVERLAYROOT_OVERLAYFS")
    lines["${ofs}"] = lines["${ofs}"].replace(f"ofs-size={d.getVar('OVERLAYROOT_SIZE')}", "ofs-size=${size}")
    return f"""# Written with the image; changes go to grubenv, by grub-editenv or overlayrootctl.
set timeout=0
set ofs={default}
set size={d.getVar("OVERLAYROOT_SIZE")}
load_env
if [ "$overlayfs" = yes -o "$overlayfs" = no ]; then set ofs="$overlayfs"; fi
if [ "$ofs_size" != "" ]; then set size="$ofs_size"; fi
if [ "$overlayfs_once" = no ]; then
    set overlayfs_once=
    if save_env overlayfs_once; then set ofs=no; fi
fi
menuentry 'overlayroot' {{
    linux /{_kernel(d)} {lines["${ofs}"]}
    initrd /{INITRAMFS}
}}
"""


def _entry(d, title: str, line: str) -> str:
    return f"title {title}\nlinux /{_kernel(d)}\ninitrd /{INITRAMFS}\noptions {line}\n"


def files(d) -> dict:
    """The initramfs, unless it is in the UKI."""
    return {} if is_uki(d) else {INITRAMFS: layout.initramfs_file(d)}


def texts(d, verity: str) -> dict:
    """The boot loader's files."""
    if is_uki(d):
        # The plugin would write an entry that starts a kernel which is not there, and make it the default.
        name = d.getVar("UKI_FILENAME") or "uki.efi"
        return {LOADER: f"default {name}\ntimeout 0\neditor no\n", ENTRY: "title none\n"}
    if d.getVar("EFI_PROVIDER") == "grub-efi":
        head = "# GRUB Environment Block\n"
        return {GRUB: grub(d, verity), GRUB_ENVIRONMENT: head + "#" * (1024 - len(head))}
    more = _more(d)
    return {
        LOADER: "default boot.conf\ntimeout 0\neditor no\n",
        ENTRY: _entry(d, "protected", cmdline.line(d, verity, more)),
        WRITABLE: _entry(d, "writable", cmdline.line(d, verity, more, overlayfs="no")),
    }


def depends(d) -> list:
    """The initramfs, and the boot loader, which the plugin takes from the deploy folder."""
    tasks = [f"{d.getVar('OVERLAYROOT_INITRAMFS')}:do_image_complete"]
    provider = d.getVar("EFI_PROVIDER")
    return [*tasks, *([f"{provider}:do_deploy"] if provider in PROVIDERS else [])]


def replaced(_d) -> list:
    """None by name: ours are put over those of the plugin."""
    return []


def kernels(d) -> list:
    """One: the kernel, or the UKI."""
    if is_uki(d):
        name = d.getVar("UKI_FILENAME") or "uki.efi"
        return [(f"EFI/Linux/{name}", name)]
    return [(_kernel(d), _kernel(d))]


def plain(d) -> list:
    """Beside a UKI there is no other kernel."""
    return boards.kernel_types(d) if is_uki(d) else []


def card(found: dict) -> list:
    """Whether there is a boot loader at all."""
    if any(name.lower().startswith("efi/boot/boot") and name.lower().endswith(".efi") for name in found):
        return []
    return ["no EFI/BOOT/boot*.efi on the boot partition: the layout needs --source bootimg-efi"]


def _no_uki(d) -> list:
    messages = route_bundle.no_initramfs(d, "efi")
    if d.getVar("UKI_CMDLINE") != uki_line(d):
        messages.append(
            "UKI_CMDLINE is set to another command line than ours, which would leave the root to the kernel: "
            "take it out; OVERLAYROOT_BOOTARGS is for more words"
        )
    if layout.is_verified(d):
        messages.append(
            'OVERLAYROOT_VERITY = "1": the UKI is made before the root is sealed; not without a uki'
        )
    return messages


def problems(d) -> list:
    """What is wrong, by the configuration: first what comes first."""
    machine, provider = d.getVar("MACHINE"), d.getVar("EFI_PROVIDER")
    if not claims(d):
        return [
            f'OVERLAYROOT_BOOT = "efi", and MACHINE_FEATURES of {machine} has no efi: '
            f'MACHINE_FEATURES:append:{machine} = " efi" in the configuration'
        ]
    if provider not in PROVIDERS:
        return [
            f'EFI_PROVIDER = "{provider or ""}" is none that is known: EFI_PROVIDER:{machine} = '
            '"systemd-boot" or "grub-efi" in the configuration'
        ]
    if is_uki(d):
        if provider != "systemd-boot":
            return ['a UKI is started by systemd-boot: EFI_PROVIDER = "systemd-boot" in the configuration']
        return _no_uki(d)
    if _kernel(d) not in ("bzImage", "Image", "zImage", "vmlinuz"):
        return [f"EFI starts no {_kernel(d) or 'kernel of no type'}: KERNEL_IMAGETYPE in the configuration"]
    messages = []
    for variable in ("IMAGE_BOOT_FILES", "IMAGE_EFI_BOOT_FILES"):
        for entry, _, target in boards.entries(d.getVar(variable)):
            who = bootpart.other_path(target)
            ours = entry in boards.words(d.getVar("OVERLAYROOT_EFI_BOOT_FILES"))
            if who and not ours and not re.fullmatch(FIRMWARE, target.lower()):
                messages.append(
                    f'{variable} has {entry}, another way to boot: {who}: {variable}:remove = "{entry}"'
                )
    return messages
