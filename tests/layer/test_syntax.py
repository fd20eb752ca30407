# SPDX-License-Identifier: MIT
"""BitBake's own parser reads every file of the layer; the functions and expressions in them, too."""

import pathlib
import subprocess

import bitbake
import pytest

EVERY = [*bitbake.files(), *bitbake.quick_files()]


@pytest.mark.parametrize("path", EVERY, ids=lambda path: str(path.relative_to(bitbake.TOP)))
def test_parses(path: pathlib.Path) -> None:
    assert bitbake.syntax(path) == []


def test_no_file_is_left_out() -> None:
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=bitbake.TOP, capture_output=True, text=True, check=True
    )
    tracked = {bitbake.TOP / name for name in names.stdout.split("\0")}
    recipes = {path for path in tracked if path.suffix in bitbake.SUFFIXES}
    others = (bitbake.STUBS, bitbake.TOP / "debian", bitbake.TOP / "rust")
    assert {path for path in recipes if not {*others} & {*path.parents}} == set(EVERY)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.bb", "this is no statement\n"),
        ("a.bb", 'A = "no end\n'),
        ("a.bb", "do_install() {\n    if true; then\n}\n"),
        ("a.bb", "do_install() {\n    echo ${@d.getVar('A'}\n}\n"),
        ("a.bb", "python do_x() {\n    if d\n}\n"),
        ("a.bbclass", "def f(d):\n    return (\n\nA = '1'\n"),
        ("a.inc", "A = \"${@d.getVar('B' + }\"\n"),
        ("a.inc", "A = \"${@d.getVar('B')\"\n"),
        ("a.bbappend", "requires x.inc\n"),
        ("a.conf", "A == 'x'\n"),
    ],
)
def test_errors_are_seen(tmp_path: pathlib.Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text("# SPDX-License-Identifier: MIT\n" + text)
    assert bitbake.syntax(path) != []
