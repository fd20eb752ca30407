# SPDX-License-Identifier: MIT
"""Documents that a board gets: what they and our programs name is there."""

import gzip
import re
import subprocess

import bitbake
import pytest

DOCUMENTS = "/usr/share/doc/overlayroot-init"


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Names and texts, as they are in the package."""
    folder = tmp_path_factory.mktemp("documents")
    subprocess.run([bitbake.TOP / "scripts/board-documents", folder], check=True)
    return {path.name: gzip.decompress(path.read_bytes()).decode() for path in folder.iterdir()}


def anchors(text: str) -> set[str]:
    """What a link may name in a document."""
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead(documents: dict[str, str]) -> list[str]:
    """Links that lead nowhere."""
    found = []
    for name, text in documents.items():
        for link in re.findall(r"\]\(([^)]+)\)", text):
            file, _, anchor = link.partition("#")
            target = documents.get(file or name, "")
            if not link.startswith("http") and not (target and (not anchor or anchor in anchors(target))):
                found.append(f"{name}: {link}")
    return found


def test_links_stay_among_them(documents: dict[str, str]) -> None:
    assert {"debian.md.gz", "settings.md.gz", "environment.md.gz", "parameters.md.gz"} <= set(documents)
    assert not dead(documents)
    # Nor is anything left of those that were taken out.
    assert not [name for name, text in documents.items() if re.search(r"\]<|!\[", text)]


def test_a_dead_link_is_seen(documents: dict[str, str]) -> None:
    changed = documents | {"a.md.gz": "[b](b.md.gz) [c](debian.md.gz#nothing) [d](#e)"}
    assert dead(changed) == ["a.md.gz: b.md.gz", "a.md.gz: debian.md.gz#nothing", "a.md.gz: #e"]


def test_what_programs_and_manual_pages_name_is_there(documents: dict[str, str]) -> None:
    named = set()
    for folder, pattern in [
        ("debian/package", "**/*"),
        ("rust/overlayrootctl", "files/**/*"),
        ("rust", "*/src/**/*.rs"),
    ]:
        for path in (bitbake.TOP / folder).glob(pattern):
            if path.is_file():
                text = path.read_text().replace("\\-", "-")
                named |= set(re.findall(rf"{DOCUMENTS}/([a-z.-]*[a-z])", text))
                # What is said to somebody at a board names no folder of the repository.
                code = "\n".join(
                    line for line in text.splitlines() if not re.match(r"\s*(//|#|\.\\\")", line)
                )
                assert path.name == "main.rs" or "docs/" not in code, path
    assert "debian.md.gz" in named
    assert named <= set(documents)
