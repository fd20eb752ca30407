# SPDX-License-Identifier: MIT
"""What the layer says about a kernel's configuration: the check itself, on small texts."""

import pathlib

import pytest
from overlayroot import kconfig

FRAGMENTS = sorted(kconfig.fragments_folder().glob("*.cfg"))


def config(tmp_path: pathlib.Path, version: str, *lines: str) -> pathlib.Path:
    """A final .config."""
    path = tmp_path / ".config"
    path.write_text("\n".join(["#", f"# Linux/arm {version} Kernel Configuration", "#", *lines, ""]))
    return path


def fragment(tmp_path: pathlib.Path, *lines: str) -> pathlib.Path:
    """A fragment."""
    path = tmp_path / "asked.cfg"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_all_there(tmp_path: pathlib.Path) -> None:
    asked = fragment(tmp_path, "CONFIG_OVERLAY_FS=y", "# CONFIG_SWAP is not set", 'CONFIG_NAME="x"')
    final = config(tmp_path, "6.1.22", "CONFIG_OVERLAY_FS=y", 'CONFIG_NAME="x"', "# CONFIG_SWAP is not set")
    assert kconfig.check(final, [asked]) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("# CONFIG_OVERLAY_FS is not set", "is not set"),
        ("CONFIG_OVERLAY_FS_INDEX=y", "is not set"),
        ("CONFIG_OVERLAY_FS=m", "is a module"),
        ("CONFIG_OVERLAY_FS=n", "is n"),
    ],
)
def test_not_taken(tmp_path: pathlib.Path, line: str, said: str) -> None:
    asked = fragment(tmp_path, "CONFIG_OVERLAY_FS=y")
    final = config(tmp_path, "6.1.22", line)
    assert kconfig.check(final, [asked]) == [f"CONFIG_OVERLAY_FS=y (asked.cfg): {said}"]


def test_module_is_accepted_where_it_may_be_one(tmp_path: pathlib.Path) -> None:
    asked = fragment(tmp_path, "CONFIG_OVERLAY_FS=y", "CONFIG_TMPFS=y")
    final = config(tmp_path, "6.1.22", "CONFIG_OVERLAY_FS=m")
    assert kconfig.check(final, [asked], modules=True) == ["CONFIG_TMPFS=y (asked.cfg): is not set"]


def test_unwanted_symbol(tmp_path: pathlib.Path) -> None:
    asked = fragment(tmp_path, "# CONFIG_SWAP is not set")
    final = config(tmp_path, "6.1.22", "CONFIG_SWAP=y")
    assert kconfig.check(final, [asked]) == ["CONFIG_SWAP=n (asked.cfg): is y"]


def test_symbol_newer_than_the_kernel(tmp_path: pathlib.Path) -> None:
    asked = fragment(tmp_path, "# since 5.9: zstd", "CONFIG_RD_ZSTD=y", "# all", "CONFIG_TMPFS=y")
    assert kconfig.check(config(tmp_path, "5.8.1", "CONFIG_TMPFS=y"), [asked]) == []
    assert kconfig.check(config(tmp_path, "5.10.1", "CONFIG_TMPFS=y"), [asked]) == [
        "CONFIG_RD_ZSTD=y (asked.cfg): is not set"
    ]


def test_reason_from_the_source(tmp_path: pathlib.Path) -> None:
    (tmp_path / "linux/fs").mkdir(parents=True)
    (tmp_path / "linux/fs/Kconfig").write_text("\nconfig TMPFS\n\tbool\n")
    asked = fragment(tmp_path, "CONFIG_TMPFS=y", "CONFIG_NO_SUCH_THING=y")
    assert kconfig.check(config(tmp_path, "6.1.22"), [asked], source=tmp_path / "linux") == [
        "CONFIG_TMPFS=y (asked.cfg): is not set; see its dependencies in fs/Kconfig:2",
        "CONFIG_NO_SUCH_THING=y (asked.cfg): is not set; this kernel has no such symbol",
    ]


def test_program(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    asked, final = fragment(tmp_path, "CONFIG_TMPFS=y"), config(tmp_path, "6.1.22", "CONFIG_TMPFS=m")
    assert kconfig.main([str(final), str(asked)]) == 1
    assert kconfig.main(["--json", str(final), str(asked)]) == 1
    line = "CONFIG_TMPFS=y (asked.cfg): is a module"
    assert capsys.readouterr().out == f'{line}\n[\n  "{line}"\n]\n'
    assert kconfig.main(["--modules", str(final), str(asked)]) == 0
    assert kconfig.main([str(tmp_path / "absent"), str(asked)]) == 2


@pytest.mark.parametrize("symbol", kconfig.OVERLAY)
def test_either_overlayfs_will_do_before_3_18(tmp_path: pathlib.Path, symbol: str) -> None:
    asked = [kconfig.fragments_folder() / "overlayroot.cfg"]
    everything = [f"CONFIG_{request.symbol}=y" for request in kconfig.read_fragment(asked[0])]
    everything.remove("CONFIG_OVERLAY_FS=y")
    assert kconfig.check(config(tmp_path, "3.14.52", *everything, f"CONFIG_{symbol}=y"), asked) == []
    assert kconfig.check(config(tmp_path, "3.14.52", *everything), asked) == [
        "CONFIG_OVERLAYFS_FS=y (overlayroot.cfg): is not set"
    ]
    assert kconfig.check(config(tmp_path, "6.1.22", *everything), asked) == [
        "CONFIG_OVERLAY_FS=y (overlayroot.cfg): is not set"
    ]


@pytest.mark.parametrize("text", ["CONFIG_TMPFS y", "TMPFS=y", "CONFIG_TMPFS = y"])
def test_a_line_that_is_no_request_is_an_error(tmp_path: pathlib.Path, text: str) -> None:
    with pytest.raises(kconfig.KconfigError, match=r"asked\.cfg:2: neither CONFIG_NAME=value nor a comment"):
        kconfig.read_fragment(fragment(tmp_path, "# Summary.", text))


def test_not_a_config(tmp_path: pathlib.Path) -> None:
    with pytest.raises(kconfig.KconfigError, match=r"not a kernel's \.config"):
        kconfig.read_config(fragment(tmp_path, "CONFIG_TMPFS=y"))


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (("ext4", False, False), []),
        (("", False, False), []),
        (("squashfs-zst", False, False), ["squashfs"]),
        (("erofs-lz4 ext4", True, False), ["erofs", "verity"]),
        (("ext4.gz squashfs erofs", False, True), ["3.10", "squashfs", "erofs"]),
    ],
)
def test_fragments(settings: tuple, names: list[str]) -> None:
    expected = ["overlayroot.cfg", *(f"overlayroot-{name}.cfg" for name in names)]
    assert kconfig.fragments(*settings) == expected


@pytest.mark.parametrize(
    ("version", "old"),
    [("3.10.53", True), ("3.17", True), ("3.18.0", False), ("6.1.22+git", False), ("", False)],
)
def test_old(version: str, old: bool) -> None:
    assert kconfig.is_old(version) is old


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_fragment_says_why(path: pathlib.Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0] == "# SPDX-License-Identifier: MIT"
    assert lines[1].startswith("# ")
    # Each group of symbols begins with a comment.
    groups = path.read_text().split("\n\n")[1:]
    assert groups
    assert all(group.startswith("# ") for group in groups)
    symbols = [request.symbol for request in kconfig.read_fragment(path)]
    assert len(symbols) == len(set(symbols))
