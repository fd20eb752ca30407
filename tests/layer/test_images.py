# SPDX-License-Identifier: MIT
"""Images and the Rust recipes, expanded: what a build of them would be told to do."""

import os
import pathlib

import bb.build
import bb.checksum
import bb.data_smart
import bitbake
import pytest
from overlayroot import kconfig

IMAGES = bitbake.TOP / "recipes-core/images"
RUST = bitbake.TOP / "recipes-core/overlayroot"
ON = {"DISTRO_FEATURES": "overlayroot"}
META_OE = {"BBFILE_COLLECTIONS": "core openembedded-layer overlayroot"}


def minimal(**variables: str) -> bb.data_smart.DataSmart:
    """The example image with these settings."""
    return bitbake.recipe(IMAGES / "overlayroot-image-minimal.bb", bitbake.configuration(**ON, **variables))


@pytest.mark.parametrize("path", bitbake.files(".bb"), ids=lambda path: path.name)
def test_no_recipe_is_built_without_the_feature(path: pathlib.Path) -> None:
    assert bitbake.recipe(path, bitbake.configuration()).getVar("__SKIPPED").endswith("overlayroot")
    assert bitbake.recipe(path, bitbake.configuration(**ON)).getVar("__SKIPPED") is None


def test_the_card() -> None:
    d = minimal()
    assert d.getVar("WKS_FILE") == d.getVar("WKS_FILES") == "overlayroot-spi-nor.wks.in"
    folder = d.getVar("WKS_SEARCH_PATH").split(":")[-1]
    for kind in ("spi-nor", "card", "card-spl"):
        assert (pathlib.Path(folder) / f"overlayroot-{kind}.wks.in").is_file()
    assert d.getVar("IMAGE_FSTYPES").split() == ["tar", "wic.gz", "wic.bmap"]
    assert d.getVar("OVERLAYROOT_WKS_ROOT").startswith("--source rootfs --fstype=ext4 --label rootfs ")
    assert d.getVar("OVERLAYROOT_WKS_DATA") == ""
    signature = d.getVar("OVERLAYROOT_DISK_SIGNATURE")
    assert d.getVar("OVERLAYROOT_ROOT") == f"PARTUUID={signature}-02"
    assert signature == minimal().getVar("OVERLAYROOT_DISK_SIGNATURE")
    # Beside what the machine asks of wic.
    d = minimal(WIC_CREATE_EXTRA_ARGS="--sector-size 4096")
    assert d.getVar("WIC_CREATE_EXTRA_ARGS").split() == ["--sector-size", "4096", "--no-fstab-update"]
    assert signature != minimal(MACHINE="nitrogen7").getVar("OVERLAYROOT_DISK_SIGNATURE")


def test_the_boot_partition() -> None:
    stock = {"IMAGE_BOOT_FILES": "zImage boot.scr-${MACHINE};boot.scr"}
    d = minimal(**stock)
    assert d.getVar("IMAGE_BOOT_FILES").split() == [
        "zImage",
        "boot.scr-overlayroot;boot.scr",
        "overlayroot-initramfs-nitrogen6x.cpio.gz.u-boot;overlayroot.uInitrd",
        "overlayroot-image-minimal-nitrogen6x.overlayroot.env;overlayroot.env",
    ]
    depends = d.getVarFlag("do_image_wic", "depends").split()
    for task in (
        "virtual/kernel:do_deploy",
        "overlayroot-boot-script:do_deploy",
        "overlayroot-initramfs:do_image_complete",
        "mtools-native:do_populate_sysroot",
    ):
        assert task in depends
    # A kernel that carries the initramfs: the stock script stays.
    bundle = {
        "INITRAMFS_IMAGE_BUNDLE": "1",
        "INITRAMFS_IMAGE": "overlayroot-initramfs",
        "KERNEL_IMAGETYPE": "zImage",
    }
    ours = "zImage-initramfs-nitrogen6x.bin;zImage"
    d = minimal(**bundle, IMAGE_BOOT_FILES=f"{ours} boot.scr-${{MACHINE}};boot.scr")
    assert d.getVar("__SKIPPED") is None
    assert d.getVar("IMAGE_BOOT_FILES").split() == [ours, "boot.scr-nitrogen6x;boot.scr"]
    assert "overlayroot-boot-script:do_deploy" not in d.getVarFlag("do_image_wic", "depends")


def test_an_image_feature_protects_any_image() -> None:
    """With the class in IMAGE_CLASSES; the feature alone, or the class alone, changes nothing."""
    ordinary = bitbake.STUBS / "recipes-core/images/core-image-minimal.bb"

    def image(**variables: str) -> bb.data_smart.DataSmart:
        return bitbake.recipe(ordinary, bitbake.configuration(**ON, **variables))

    asked = image(IMAGE_CLASSES="overlayroot-feature", IMAGE_FEATURES="ssh-server overlayroot")
    assert bb.data.inherits_class("overlayroot-image", asked)
    assert asked.getVar("WKS_FILE") == "overlayroot-spi-nor.wks.in"
    assert asked.getVar("IMAGE_FSTYPES").split() == ["tar", "wic.gz", "wic.bmap"]
    assert "packagegroup-overlayroot" in asked.getVar("IMAGE_INSTALL").split()
    assert "overlayroot_check_kernel" in asked.getVar("IMAGE_QA_COMMANDS").split()
    for variables in ({"IMAGE_CLASSES": "overlayroot-feature"}, {"IMAGE_FEATURES": "overlayroot"}):
        other = image(**variables)
        assert not bb.data.inherits_class("overlayroot-image", other)
        assert "overlayroot" not in other.getVar("IMAGE_INSTALL")


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"INITRAMFS_IMAGE": "mine"}, 'INITRAMFS_IMAGE = "mine" is not OVERLAYROOT_INITRAMFS'),
        ({"INITRAMFS_IMAGE": "overlayroot-initramfs"}, "has zImage, a kernel without the initramfs"),
    ],
)
def test_a_kernel_without_our_initramfs_is_no_bundle(variables: dict[str, str], reason: str) -> None:
    """The image cannot be built; everything else can."""
    stock = {"IMAGE_BOOT_FILES": "zImage", "KERNEL_IMAGETYPE": "zImage", "INITRAMFS_IMAGE_BUNDLE": "1"}
    assert reason in minimal(**stock, **variables).getVar("__SKIPPED")
    d = bitbake.configuration(**ON, **stock, **variables)
    assert bitbake.recipe(IMAGES / "overlayroot-initramfs.bb", d).getVar("__SKIPPED") is None


def test_overlayroot_env() -> None:
    d = minimal(OVERLAYROOT_BOOT_ENV=r"cma=64M\nconsole=ttymxc0")
    lines = bb.utils.better_eval("overlayroot.route_script.environment(d)", {"d": d}).splitlines()
    assert f"ofs_root={d.getVar('OVERLAYROOT_ROOT')}" in lines
    assert {"cma=64M", "console=ttymxc0"} <= set(lines)


@pytest.mark.parametrize("kind", ["squashfs", "erofs"])
def test_other_roots(kind: str) -> None:
    d = minimal(OVERLAYROOT_ROOTFS=kind)
    assert d.getVar("OVERLAYROOT_WKS_ROOT").split() == ["--source", "rootfs", f"--fstype={kind}"]
    tools = {"squashfs": "squashfs-tools-native", "erofs": "erofs-utils-native"}[kind]
    assert f"{tools}:do_populate_sysroot" in d.getVarFlag("do_image_wic", "depends").split()


@pytest.mark.parametrize("kind", ["ext4", "squashfs", "erofs"])
def test_verified_root(kind: str, tmp_path: pathlib.Path) -> None:
    """What BitBake makes of it; the shell function runs for real."""
    d = minimal(OVERLAYROOT_VERITY="1", OVERLAYROOT_ROOTFS=kind, WORKDIR=str(tmp_path), **META_OE)
    folder = d.getVar("OVERLAYROOT_VERITY_DIR")
    assert d.getVar("IMAGE_TYPEDEP:wic").split() == [f"{kind}.ofsverity"]
    assert "ofsverity" in d.getVar("CONVERSIONTYPES").split()
    assert d.getVar("CONVERSION_DEPENDS_ofsverity") == "cryptsetup-native"
    assert d.getVar("OVERLAYROOT_WKS_ROOT") == f'--source rawcopy --sourceparams="file={folder}/root.img"'
    name = "overlayroot-image-minimal-nitrogen6x.overlayroot.env"
    assert f"{folder}/{name};overlayroot.env" in d.getVar("IMAGE_BOOT_FILES").split()
    assert "overlayroot_verity_env" in d.getVarFlag("do_image_wic", "prefuncs").split()
    d.setVar("PATH", os.environ["PATH"] + ":/usr/sbin")
    image = tmp_path / "image"
    image.write_bytes(bytes(range(256)) * 64)
    d.setVar("do_seal", f"overlayroot_seal {image}")
    d.setVarFlag("do_seal", "func", "1")
    bb.build.exec_func("do_seal", d)
    bb.build.exec_func("overlayroot_verity_env", d)
    assert (pathlib.Path(folder) / "root.img").read_bytes().startswith(image.read_bytes())
    last = (pathlib.Path(folder) / name).read_text().splitlines()[-1]
    assert last.startswith("ofs_verity=") and last.endswith("@16384")


def test_nothing_is_sealed_unless_asked_for() -> None:
    d = minimal()
    assert not (d.getVar("IMAGE_TYPEDEP:wic") or "").strip()
    assert "overlayroot_verity_env" not in d.getVarFlag("do_image_wic", "prefuncs").split()


def test_what_cannot_be_sealed_is_left_out() -> None:
    """The image cannot be built; everything else can, as our example may not be what is wanted."""
    reason = minimal(OVERLAYROOT_VERITY="1").getVar("__SKIPPED")
    assert "needs veritysetup, which is in cryptsetup of meta-oe" in reason
    reason = minimal(OVERLAYROOT_VERITY="1", OVERLAYROOT_IMAGE_FSTYPES="", **META_OE).getVar("__SKIPPED")
    assert 'would seal nothing, with IMAGE_FSTYPES = "tar"' in reason
    assert minimal(OVERLAYROOT_VERITY="1", **META_OE).getVar("__SKIPPED") is None


def test_data_partition() -> None:
    line = minimal(OVERLAYROOT_DATA_SIZE="256", OVERLAYROOT_DATA_MOUNT="/srv").getVar("OVERLAYROOT_WKS_DATA")
    assert line.startswith("part /srv ")
    assert "--fstype=ext4" in line
    assert line.endswith("--fixed-size 256")


def test_a_broken_data_partition_does_not_end_the_boot(tmp_path: pathlib.Path) -> None:
    d = minimal(OVERLAYROOT_DATA_SIZE="256", WORKDIR=str(tmp_path), PATH=os.environ["PATH"])
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    bb.build.exec_func("overlayroot_rootfs", d)
    assert (tmp_path / "rootfs/data").is_dir()
    (entry,) = (tmp_path / "rootfs/etc/fstab").read_text().splitlines()
    device, where, kind, options, _, check = entry.split()
    assert (device, where, kind, check) == ("LABEL=ofs-data", "/data", "ext4", "2")
    assert set(options.split(",")) == {"noatime", "nofail"}


@pytest.mark.parametrize("where", ["card", "card-spl"])
def test_boot_loader_on_the_card(where: str) -> None:
    d = minimal(OVERLAYROOT_UBOOT=where)
    assert d.getVar("WKS_FILE") == f"overlayroot-{where}.wks.in"
    assert "virtual/bootloader:do_deploy" in d.getVarFlag("do_image_wic", "depends").split()


def test_a_layout_with_a_boot_loader_is_not_replaced_unasked(tmp_path: pathlib.Path) -> None:
    """A vendor's layout may have any name."""
    raw = '--source rawcopy --sourceparams="file='
    text = f"""part / --source rootfs
# part x {raw}not-this-one"
part boot {raw}${{UBOOT_BINARY}}.tagged" --no-table
part fw {raw}fw.bin,name=x"
"""
    (tmp_path / "product.wks.in").write_text(text)
    own = {"WKS_FILE": "product.wks.in", "WKS_SEARCH_PATH": f"/nonexistent:{tmp_path}"}
    d = minimal(**own)
    assert d.getVar("__SKIPPED").startswith(
        "product.wks.in, the layout of nitrogen6x, puts u-boot.imx.tagged, fw.bin on the card"
    )
    assert str(tmp_path / "product.wks.in") in str(d.getVar("__depends", False))
    for answer in (
        {"OVERLAYROOT_UBOOT": "card"},
        {"OVERLAYROOT_UBOOT": "spi-nor"},
        {"OVERLAYROOT_WKS_FILE": "mine.wks"},
        {"OVERLAYROOT_IMAGE_FSTYPES": ""},
        {"WKS_SEARCH_PATH": "/nonexistent"},
    ):
        assert minimal(**(own | answer)).getVar("__SKIPPED") is None
    (tmp_path / "product.wks.in").write_text("part / --source rootfs")
    assert minimal(**own).getVar("__SKIPPED") is None


def test_checks_are_wired_up() -> None:
    d = minimal()
    assert d.getVar("IMAGE_QA_COMMANDS").split() == ["overlayroot_check_rootfs", "overlayroot_check_kernel"]
    assert d.getVarFlag("do_image_qa", "depends").split() == ["virtual/kernel:do_deploy"]
    assert "overlayroot_check_deployed" in d.getVarFlag("do_image_wic", "prefuncs").split()
    assert "overlayroot_finish_wic" in d.getVar("IMAGE_CMD:wic")
    finish = d.getVar("overlayroot_finish_wic")
    assert f"--signature {d.getVar('OVERLAYROOT_DISK_SIGNATURE')}" in finish
    assert finish.count("--boot-file ") == 3
    # Kernel recipes deploy the file under the name that images look for.
    deployed = bitbake.recipe(
        bitbake.STUBS / "linux-yocto_6.18.bb",
        bitbake.configuration(**ON),
        [bitbake.TOP / "recipes-kernel/linux/linux-yocto_%.bbappend"],
    ).getVar("do_deploy")
    assert d.getVar("OVERLAYROOT_KERNEL_CONFIG").rpartition("/")[2] in deployed


def test_what_boots_is_built_and_checked_without_a_card_too(
    tmp_path: pathlib.Path, errors: list[str]
) -> None:
    d = minimal(OVERLAYROOT_IMAGE_FSTYPES="", DEPLOY_DIR_IMAGE=str(tmp_path), WORKDIR=str(tmp_path / "work"))
    assert d.getVar("IMAGE_FSTYPES").split() == ["tar"]
    depends = d.getVarFlag("do_image_complete", "depends").split()
    assert depends == ["overlayroot-boot-script:do_deploy", "overlayroot-initramfs:do_image_complete"]
    assert "do_overlayroot_env" in d.getVarFlag("do_image_complete", "deps", False)
    (check,) = d.getVarFlag("do_image_complete", "prefuncs").split()
    with pytest.raises(bb.BBHandledException):
        bb.build.exec_func(check, d)
    said = errors.pop()
    assert f"{tmp_path}/zImage is missing, or no kernel" in said
    assert "overlayroot-initramfs-nitrogen6x.cpio.gz.u-boot is missing" in said
    (tmp_path / "overlayroot-initramfs-nitrogen6x.cpio.gz.u-boot").write_bytes(b"x")
    plain, carrier = (bytes(0x24) + b"\x18\x28\x6f\x01" + text for text in (b"", b"initramfs"))
    (tmp_path / "zImage").write_bytes(plain)
    bb.build.exec_func(check, d)
    bundle = {"INITRAMFS_IMAGE_BUNDLE": "1", "INITRAMFS_IMAGE": "overlayroot-initramfs"}
    d = minimal(
        **bundle,
        OVERLAYROOT_IMAGE_FSTYPES="",
        DEPLOY_DIR_IMAGE=str(tmp_path),
        WORKDIR=str(tmp_path / "work"),
    )
    assert not d.getVarFlag("do_image_complete", "depends").split()
    for name, data in (("zImage-initramfs-nitrogen6x.bin", b""), ("zImage-initramfs-nitrogen6x.bin", plain)):
        with pytest.raises(bb.BBHandledException):
            bb.build.exec_func(check, d)
        (tmp_path / name).write_bytes(data)
    with pytest.raises(bb.BBHandledException):
        bb.build.exec_func(check, d)
    assert "is the same as zImage, so it carries nothing" in errors.pop()
    (tmp_path / "zImage-initramfs-nitrogen6x.bin").write_bytes(carrier)
    bb.build.exec_func(check, d)


CHECKS = ["boards.py", "checks.py", "content.py", "kconfig.py"]
FRAGMENTS = [path.name for path in kconfig.fragments_folder().iterdir()]


@pytest.mark.parametrize(
    ("recipe", "task", "files"),
    [
        (IMAGES / "overlayroot-image-minimal.bb", "do_write_wks_template", ["layout.py"]),
        (IMAGES / "overlayroot-image-minimal.bb", "do_image_ext4", ["layout.py", "verity.py"]),
        (
            IMAGES / "overlayroot-image-minimal.bb",
            "do_image_wic",
            [path.name for path in (bitbake.TOP / "lib/overlayroot").glob("*.py")],
        ),
        (IMAGES / "overlayroot-image-minimal.bb", "do_image_qa", [*CHECKS, *FRAGMENTS]),
        (RUST / "overlayroot-conf_1.0.bb", "do_install", ["settings.py"]),
        (bitbake.STUBS / "linux-yocto_6.18.bb", "do_overlayroot_configcheck", ["kconfig.py"]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_change_of_the_layer_runs_a_task_again(recipe: pathlib.Path, task: str, files: list[str]) -> None:
    """BitBake's hashes know the functions of a module, not its constants, nor the fragments."""
    appends = [bitbake.TOP / "recipes-kernel/linux/linux-yocto_%.bbappend"] if recipe.name[0] == "l" else []
    d = bitbake.recipe(recipe, bitbake.configuration(**ON), appends)
    sums = bb.checksum.FileChecksumCache().get_checksums(d.getVarFlag(task, "file-checksums"), "x", [])
    assert sorted(pathlib.Path(path).name for path, _ in sums) == sorted(files)
    # Where the layer is does not matter: of a name only what is behind this mark is hashed.
    assert all("/./" in path for path, _ in sums if path.endswith(".cfg"))


def test_kernel_of_an_image_is_checked(tmp_path: pathlib.Path, errors: list[str]) -> None:
    config = tmp_path / "overlayroot-kernel-nitrogen6x.config"

    def check(**variables: str) -> None:
        d = minimal(WORKDIR=str(tmp_path), OVERLAYROOT_KERNEL_CONFIG=str(config), **variables)
        bb.build.exec_func("overlayroot_check_kernel", d)

    with pytest.raises(bb.BBHandledException):
        check()
    assert "is missing, so nobody knows whether the kernel can protect the root" in errors.pop()
    requests = kconfig.read_fragment(kconfig.fragments_folder() / "overlayroot.cfg")
    lines = [f"CONFIG_{request.symbol}={request.value}" for request in requests]
    config.write_text("\n".join(["# Linux/arm 6.1.22 Kernel Configuration", *lines]))
    check()
    assert errors == []
    # The image has another root than the kernel was configured for.
    with pytest.raises(bb.BBHandledException):
        check(OVERLAYROOT_ROOTFS="squashfs")
    assert "\n  CONFIG_SQUASHFS=y (overlayroot-squashfs.cfg): is not set" in errors.pop()


def test_the_initramfs_holds_nothing_else() -> None:
    path = IMAGES / "overlayroot-initramfs.bb"
    d = bitbake.recipe(path, bitbake.configuration(**ON))
    assert d.getVar("PACKAGE_INSTALL").split() == ["overlayroot-init", "overlayroot-conf"]
    assert (d.getVar("IMAGE_FEATURES"), d.getVar("IMAGE_FSTYPES")) == ("", "cpio.gz cpio.gz.u-boot")
    assert d.getVar("KERNELDEPMODDEPEND") == ""
    d = bitbake.recipe(
        path, bitbake.configuration(**ON, OVERLAYROOT_INITRAMFS_MODULES="sdhci_esdhc_imx ext4")
    )
    assert d.getVar("PACKAGE_INSTALL").split()[2:] == [
        "kernel-module-sdhci-esdhc-imx",
        "kernel-module-ext4",
    ]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OVERLAYROOT_SIZ": "1"}, "OVERLAYROOT_SIZ is no variable of meta-overlayroot"),
        ({"OVERLAYROOT_ROOTFS": "xfs"}, 'OVERLAYROOT_ROOTFS = "xfs" cannot be used'),
        (
            {"OVERLAYROOT_KERNEL_MODULES": "yes"},
            'OVERLAYROOT_KERNEL_MODULES = "yes" cannot be used; accepted: 0, 1',
        ),
        ({"OVERLAYROOT_DATA_SIZE": "1G"}, 'OVERLAYROOT_DATA_SIZE = "1G" cannot be used'),
        ({"OVERLAYROOT_DISK_SIGNATURE": "0"}, 'OVERLAYROOT_DISK_SIGNATURE = "0" cannot be used'),
    ],
)
def test_bad_variables_end_the_parsing(variables: dict[str, str], said: str, errors: list[str]) -> None:
    with pytest.raises(bb.BBHandledException):
        minimal(**variables)
    assert said in errors[0]


@pytest.mark.parametrize(("series", "sources"), [("wrynose", "/sources"), ("", "")])
@pytest.mark.parametrize("collections", ["core overlayroot", "core rust-bin-layer overlayroot"])
@pytest.mark.parametrize("name", ["overlayroot-init", "overlayrootctl"])
def test_rust_recipes(series: str, sources: str, collections: str, name: str) -> None:
    (path,) = RUST.glob(f"{name}_*.bb")
    d = bitbake.recipe(path, bitbake.configuration(**ON, unpackdir=series, BBFILE_COLLECTIONS=collections))
    unpacked = f"{d.getVar('WORKDIR')}{sources}"
    assert d.getVar("S") == f"{unpacked}/rust"
    assert d.getVar("CARGO_MANIFEST_PATH") == f"{unpacked}/rust/Cargo.toml"
    flags = d.getVar("CARGO_BUILD_FLAGS").split()
    assert flags.count("--frozen") == 1
    assert flags[flags.index("--package") + 1] == name
    prebuilt = "rust-bin-layer" in collections
    assert bb.data.inherits_class("cargo_bin", d) is prebuilt
    assert bb.data.inherits_class("cargo", d) is not prebuilt
    output = {
        True: "/target/armv7-unknown-linux-gnueabihf/release",
        False: "/build/target/armv7-poky-linux-gnueabihf/release",
    }[prebuilt]
    assert f"{d.getVar('WORKDIR')}{output}/{name}" in d.getVar("do_install")
    assert f'directory = "{unpacked}/cargo_home/bitbake"' in d.getVar("do_configure")
    # Once, whichever class brings it.
    remap = f"--remap-path-prefix={d.getVar('WORKDIR')}=/usr/src/debug/{name}/{d.getVar('PV')}"
    assert d.getVar("RUSTFLAGS").split().count(remap) == 1


@pytest.mark.parametrize(
    ("overrides", "options"),
    [
        # Of a Cortex-A9 (nitrogen6x), a Cortex-A7 (nitrogen7), an ARM9, a 64-bit machine.
        ("arm:armv7a:nitrogen6x", ["-Crelocation-model=static", "-Ctarget-feature=+thumb-mode"]),
        ("arm:armv7ve:nitrogen7", ["-Crelocation-model=static", "-Ctarget-feature=+thumb-mode"]),
        ("arm:armv5:qemuarmv5", ["-Crelocation-model=static"]),
        (
            "aarch64:qemuarm64",
            ["-Crelocation-model=static", "-Cllvm-args=-enable-machine-outliner=never"],
        ),
        ("x86-64:qemux86-64", ["-Crelocation-model=static"]),
    ],
)
def test_code_of_the_init_is_small(overrides: str, options: list[str]) -> None:
    (path,) = RUST.glob("overlayroot-init_*.bb")
    flags = bitbake.recipe(path, bitbake.configuration(**ON, overrides=overrides)).getVar("RUSTFLAGS").split()
    assert [flag for flag in flags if flag.startswith("-C")] == options


@pytest.mark.parametrize("name", ["overlayroot-init", "overlayrootctl"])
def test_sources_are_there_and_are_all(name: str) -> None:
    (path,) = RUST.glob(f"{name}_*.bb")
    d = bitbake.recipe(path, bitbake.configuration(**ON))
    local = [
        word.removeprefix("file://") for word in d.getVar("SRC_URI").split() if word.startswith("file://")
    ]
    folders = [RUST / "files", bitbake.TOP]
    found = {word: [folder / word for folder in folders if (folder / word).exists()] for word in local}
    assert all(found.values()), found
    # Cargo reads the manifest of each member; nothing of a target folder or of tests is named.
    manifests = bitbake.TOP.glob("rust/**/Cargo.toml")
    tracked = {str(p.relative_to(bitbake.TOP)) for p in manifests if "target" not in p.parts}
    assert tracked - {"rust/fuzz/Cargo.toml"} <= set(local)
    assert not any(word.endswith(("/tests", "/target")) for word in local)
