# SPDX-License-Identifier: MIT
"""Ways to boot (OVERLAYROOT_BOOT), and what the image class asks of each.

A way is a module, route_NAME.py, with these functions; `d` is BitBake's datastore:

    claims(d)         whether the machine's own configuration says that the board boots so
    files(d)          what protection hangs on: name on the boot partition -> name in the deploy folder
    texts(d, verity)  files that are written with the image: name on the boot partition -> text. `verity` is
                      ROOTHASH@OFFSET of a verified root, or empty
    depends(d)        tasks that have to be done before the card is made
    problems(d)       messages when the board would not boot so, or something else would boot
    kernels(d)        kernels that may be on the card: pairs of a name there (`*`: any) and one in the
                      deploy folder
    plain(d)          names in the deploy folder of kernels that must not be there
    replaced(d)       names of the machine's own boot files that ours take the place of
    card(found)       messages for the files of the finished boot partition, contents by name

and the constants TEXT_DEPENDS (tasks before `texts`), VARIABLE (which one brings boot files), FIRMWARE (a
pattern of names that only this way may have) and TAKES_INITRAMFS (whether a file on the card may be one).
A new way: copy the one that is most like it, and add it to ROUTES.
"""

import pathlib

from . import (
    boards,
    content,
    layout,
    route_bundle,
    route_efi,
    route_extlinux,
    route_fit,
    route_rpi,
    route_script,
)

ROUTES = {
    "script": route_script,
    "extlinux": route_extlinux,
    "fit": route_fit,
    "efi": route_efi,
    "rpi": route_rpi,
    "bundle": route_bundle,
}
# Who is asked first.
ORDER = ("rpi", "fit", "extlinux", "script", "efi")


def default(d) -> str:
    """Default of OVERLAYROOT_BOOT: what the machine says."""
    if route_bundle.claims(d):
        return "bundle"
    # Whoever vouches for a board does so for boot.scr, unless OVERLAYROOT_BOOT says otherwise.
    if boards.is_known(d):
        return "fit" if route_fit.is_fit(d) else "script"
    return next((name for name in ORDER if ROUTES[name].claims(d)), "script")


def of(d):
    """The module of this image's way."""
    return ROUTES[d.getVar("OVERLAYROOT_BOOT")]


def text_files(d) -> dict:
    """Names of the written files in the deploy folder: names on the boot partition -> names there."""
    prefix = f"{d.getVar('IMAGE_BASENAME')}-{d.getVar('MACHINE')}."
    return {name: prefix + name.rpartition("/")[2] for name in of(d).texts(d, "")}


def write_texts(d, folder: str, verity: str = "") -> None:
    """Writes the files of `texts` into a folder, by their names in the deploy folder."""
    names = text_files(d)
    for name, text in of(d).texts(d, verity).items():
        pathlib.Path(folder, names[name]).write_text(text)


def hashed_texts(d) -> str:
    """What is written, for the hash of the task: what other tasks have deployed has hashes of its own."""
    elsewhere = d.createCopy()
    elsewhere.setVar("DEPLOY_DIR_IMAGE", "/nonexistent")
    return repr(of(d).texts(elsewhere, ""))


def deployed(d) -> dict:
    """Files of the boot partition that protection hangs on: name there -> path, or name in the deploy folder.

    What holds the root hash is made beside the image that it is of, and never taken from an older build.
    """
    texts = text_files(d)
    if layout.is_verified(d):
        texts = {name: f"{d.getVar('OVERLAYROOT_VERITY_DIR')}/{file}" for name, file in texts.items()}
    return of(d).files(d) | texts


def boot_files(d, variable: str) -> str:
    """What IMAGE_BOOT_FILES, or IMAGE_EFI_BOOT_FILES, gets in addition."""
    if of(d).VARIABLE != variable:
        return ""
    return " ".join(f"{source};{name}" for name, source in deployed(d).items())


def replaced(d) -> str:
    """Entries of the machine's own boot files that go."""
    names = {name.lower() for name in of(d).replaced(d)}
    ours = boot_files(d, "IMAGE_BOOT_FILES").split()
    return " ".join(
        entry for entry, _, name in boards.machine_entries(d) if name.lower() in names and entry not in ours
    )


def depends(d) -> str:
    """Tasks that have to be done for the files of the boot partition, whoever puts them there."""
    return " ".join(of(d).depends(d))


def text_depends(d) -> str:
    """Tasks that have to be done before files are written."""
    return " ".join(of(d).TEXT_DEPENDS)


def problems(d) -> list:
    """What is wrong with how the board would boot, by its configuration."""
    return of(d).problems(d)


def wic_options(d) -> str:
    """Options of wic.py for this image."""
    folder = pathlib.Path(d.getVar("DEPLOY_DIR_IMAGE"))
    options = [*layout.wic_options(d), f"--route {d.getVar('OVERLAYROOT_BOOT')}"]
    options += [f"--boot-file '{name}={folder / source}'" for name, source in deployed(d).items()]
    options += [f"--kernel '{name}={folder / source}'" for name, source in of(d).kernels(d)]
    options += [f"--plain-kernel '{folder / source}'" for source in of(d).plain(d)]
    return " ".join(options)


def not_deployed(d) -> list:
    """Messages when the kernel that is to be started is not in the deploy folder, or carries nothing."""
    folder, messages = pathlib.Path(d.getVar("DEPLOY_DIR_IMAGE")), []
    for _, source in of(d).kernels(d)[:1]:
        path = folder / source
        if not path.is_file() or content.kind(path.read_bytes()) != "kernel":
            messages.append(f"{path} is missing, or no kernel: the recipe of virtual/kernel has to deploy it")
            continue
        for other in of(d).plain(d)[:1]:
            if (folder / other).is_file() and (folder / other).read_bytes() == path.read_bytes():
                messages.append(
                    f"{path} is the same as {other}, so it carries nothing: the recipe of "
                    "virtual/kernel has to bundle INITRAMFS_IMAGE, as kernel.bbclass does"
                )
    return messages


def in_root(d) -> list:
    """Messages for a kernel in /boot of the root: a U-Boot may find it before the boot partition is read.

    One that carries the initramfs does no harm. A firmware of a Raspberry Pi and EFI of a PC read no ext4.
    """
    route, machine = d.getVar("OVERLAYROOT_BOOT"), d.getVar("MACHINE")
    if boards.is_known(d) or route == "rpi" or (route == "efi" and "86" in (d.getVar("TARGET_ARCH") or "")):
        return []
    folder, deploy = pathlib.Path(d.getVar("IMAGE_ROOTFS")), pathlib.Path(d.getVar("DEPLOY_DIR_IMAGE"))
    carriers = [deploy / name for _, name in of(d).kernels(d)] if route == "bundle" else []
    allowed = {path.read_bytes() for path in carriers if path.is_file()}
    for path in sorted((folder / "boot").rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        if content.kind(data) == "kernel" and data not in allowed:
            return [
                f"/{path.relative_to(folder)} is a kernel without the initramfs, and nobody knows whether "
                f'{machine} starts it: RRECOMMENDS:${{KERNEL_PACKAGE_NAME}}-base = "" in the configuration '
                "and no kernel-image in MACHINE_ESSENTIAL_EXTRA_RDEPENDS keep it out; or, when you have seen "
                f'that it does not, OVERLAYROOT_BOARDS:append = " {machine}"'
            ]
    return []
