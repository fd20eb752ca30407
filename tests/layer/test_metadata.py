# SPDX-License-Identifier: MIT
"""What is written down twice agrees, and the style is OpenEmbedded's."""

import configparser
import hashlib
import pathlib
import re
import subprocess
import sys
import tomllib

import bitbake
import pytest

LICENCES = {
    # oe-core's meta/files/common-licenses, the same on scarthgap and wrynose.
    "${COMMON_LICENSE_DIR}/MIT": "0835ade698e0bcf8506ecda2f7b4f302",
    "${COMMON_LICENSE_DIR}/Apache-2.0": "89aea4e17d99a7cacdbeed46a0096b10",
}
CRATES = bitbake.TOP / "recipes-core/overlayroot/overlayroot-crates.inc"
LOCK = bitbake.TOP / "rust/Cargo.lock"


def run(program: str, *arguments: str | pathlib.Path) -> subprocess.CompletedProcess:
    """Runs one of our scripts."""
    command = [bitbake.TOP / "scripts" / program, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_crates_are_those_of_cargo_lock() -> None:
    d = bitbake.bb.data.init()
    d.setVar("__bbclasstype", "recipe")
    d = bitbake.bb.parse.handle(str(CRATES), d, True)
    listed = set()
    for word in d.getVar("SRC_URI").split():
        name, version = word.removeprefix("crate://crates.io/").split("/")
        listed.add((name, version, d.getVarFlag("SRC_URI", f"{name}-{version}.sha256sum")))
    locked = tomllib.loads(LOCK.read_text())["package"]
    assert listed == {(p["name"], p["version"], p["checksum"]) for p in locked if "source" in p}


def test_list_of_crates_is_as_generated() -> None:
    assert run("crates-inc", "--check").returncode == 0


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [(r"/serde/1\.", "/serde/2."), (r'sha256sum\] = "', 'sha256sum] = "0'), (r"    crate://.* \\\n", "")],
)
def test_drift_of_crates_is_seen(tmp_path: pathlib.Path, pattern: str, replacement: str) -> None:
    changed = tmp_path / "crates.inc"
    changed.write_text(re.sub(pattern, lambda _: replacement, CRATES.read_text(), count=1))
    assert changed.read_text() != CRATES.read_text()
    result = run("crates-inc", "--check", "--output", changed)
    assert (result.returncode, "run scripts/crates-inc" in result.stderr) == (1, True)


def test_crates_of_other_places_are_refused(tmp_path: pathlib.Path) -> None:
    lock = tmp_path / "Cargo.lock"
    lock.write_text('[[package]]\nname = "x"\nversion = "1.0.0"\nsource = "git+https://example.com/x"\n')
    result = run("crates-inc", "--lock", lock, "--output", tmp_path / "out")
    assert result.returncode == 1
    assert "x comes from git+https://example.com/x" in result.stderr


def test_variables_page_is_as_generated() -> None:
    result = run("variables-doc", "--check")
    assert result.returncode == 0, result.stderr


def test_drift_of_the_variables_page_is_seen(tmp_path: pathlib.Path) -> None:
    page = tmp_path / "variables.md"
    page.write_text((bitbake.TOP / "docs/variables.md").read_text().replace("`20%`", "`30%`"))
    assert run("variables-doc", "--check", "--output", page).returncode == 1


def test_failure_modes_page_is_as_generated(tmp_path: pathlib.Path) -> None:
    result = run("failure-modes-doc", "--check")
    assert result.returncode == 0, result.stderr
    page = tmp_path / "page.md"
    page.write_text((bitbake.TOP / "docs/failure-modes.md").read_text().replace("restart", "go on", 1))
    assert run("failure-modes-doc", "--check", "--output", page).returncode == 1


def test_manual_pages_are_as_generated(tmp_path: pathlib.Path) -> None:
    result = run("manual-pages", "--check")
    assert result.returncode == 0, result.stderr
    source = tmp_path / "parameters.md"
    source.write_text((bitbake.TOP / "docs/parameters.md").read_text().replace("1 to 3600", "1 to 3601"))
    result = run("manual-pages", "--check", "--source", source)
    assert (result.returncode, "run scripts/manual-pages" in result.stderr) == (1, True)


def test_manual_pages_have_each_setting() -> None:
    folder = bitbake.TOP / "rust/overlayrootctl/files/manual"
    conf, root = ((folder / name).read_text() for name in ("overlayroot.conf.5", "overlayroot.7"))
    settings = (bitbake.TOP / "rust/overlayroot/src/settings.rs").read_text()
    known = re.findall(r'word: "([a-z-]+)",\s+key: "([a-z-]*)"', settings)
    assert len(known) > 12
    for word, name in known:
        assert f"\\fB{word}".replace("-", r"\-") in root, word
        assert f"\\fB{name}".replace("-", r"\-") in conf, name


def test_a_variable_without_doc_is_seen(tmp_path: pathlib.Path) -> None:
    (tmp_path / "classes").mkdir()
    (tmp_path / "classes/x.bbclass").write_text('OVERLAYROOT_X ??= "1"\n')
    result = run("variables-doc", "--layer", tmp_path, "--output", tmp_path / "x.md")
    assert (result.returncode, "OVERLAYROOT_X has no [doc]" in result.stderr) == (1, True)


@pytest.mark.parametrize("path", bitbake.files(".bb", ".inc"), ids=lambda path: path.name)
def test_licence_checksums(path: pathlib.Path) -> None:
    text = path.read_text()
    if path.suffix == ".bb" and "LICENSE =" in text and "SRC_URI" in text:
        assert "LIC_FILES_CHKSUM" in text
    for name, md5 in re.findall(r"file://(\S+?);md5=([0-9a-f]{32})", text):
        if name in LICENCES:
            assert md5 == LICENCES[name]
        else:
            assert md5 == hashlib.md5((path.parent / name).read_bytes(), usedforsecurity=False).hexdigest()


def test_licences_of_what_is_linked_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crates that MIT does not cover are in the recipe's LICENSE, which the manifest of an image shows."""
    monkeypatch.setenv("CARGO_NET_OFFLINE", "true")
    for package in ("overlayroot-init", "overlayrootctl"):
        result = run("licences", package, "armhf")
        if result.returncode != 0:
            pytest.skip(f"no cargo with the crates at hand: {result.stderr}; scripts/test rust fetches them")
        crates = [line.split("\t") for line in result.stdout.splitlines()]
        assert {"bitflags", "rustix"} <= {name for name, *_ in crates}
        others = {
            licence for _, _, licence, _ in crates if not re.search(r"\bMIT\b", licence) or "AND" in licence
        }
        (path,) = bitbake.TOP.glob(f"recipes-core/overlayroot/{package}_*.bb")
        d = bitbake.recipe(path, bitbake.configuration(DISTRO_FEATURES="overlayroot"))
        assert set(d.getVar("LICENSE").split(" & ")) == {"MIT", *others}


@pytest.mark.parametrize("path", bitbake.files(), ids=lambda path: str(path.relative_to(bitbake.TOP)))
def test_lines_end_where_they_end(path: pathlib.Path) -> None:
    text = path.read_text()
    assert not re.search(r"[ \t]\n|\t|\r", text)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def oelint(folder: pathlib.Path, files: list[pathlib.Path]) -> str:
    """Findings of oelint-adv with the configuration in a folder."""
    command = [pathlib.Path(sys.executable).with_name("oelint-adv"), "--quiet", "--relpaths", *files]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stderr


def test_oelint_is_content() -> None:
    assert oelint(bitbake.TOP, bitbake.files()) == ""


def test_oelint_sees_what_is_not_suppressed(tmp_path: pathlib.Path) -> None:
    (tmp_path / ".oelint.cfg").write_text((bitbake.TOP / ".oelint.cfg").read_text())
    path = tmp_path / "recipes-x/x/x_1.0.bb"
    path.parent.mkdir(parents=True)
    path.write_text('SUMMARY = "x"\nA:append = "x"\nINSANE_SKIP = "y"\n')
    found = oelint(tmp_path, [path])
    for rule in (
        "oelint.var.mandatoryvar.DESCRIPTION",
        "oelint.vars.inconspaces",
        "oelint.vars.insaneskip",
    ):
        assert rule in found


def test_each_suppression_has_its_reason() -> None:
    text = (bitbake.TOP / ".oelint.cfg").read_text()
    config = configparser.ConfigParser()
    config.read_string(text)
    reasons = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    for rule in config["oelint"]["suppress"].split():
        *_, last = rule.split(".")
        assert rule.removeprefix("oelint.") in reasons or f".{last}" in reasons, rule
    for path in bitbake.files():
        for line in path.read_text().splitlines():
            if "nooelint" in line:
                assert re.fullmatch(r"# nooelint: [a-zA-Z_.]+(, [a-zA-Z_.]+)*: \S.*", line), (path, line)
