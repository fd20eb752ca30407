# SPDX-License-Identifier: MIT
"""The benchmark's own arithmetic; its boots take too long for `make test`."""

import json
import pathlib
import sys
import xml.etree.ElementTree

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "bench"))
import page


def row(name: str, whole: list[int], initramfs: int = 0) -> dict:
    numbers = {"inside": 2_000_000, "of_programs": 1, "system_calls": 30, "disk_reads": 5, "disk_kib": 20}
    boots = [{**numbers, "whole": one, "memory_kib": 1000 - number} for number, one in enumerate(whole)]
    return {
        "name": name,
        "initramfs_bytes": initramfs,
        "command_line": "a",
        "leaves_out": "",
        "boots": boots,
    }


RECORD = {
    "qemu": "QEMU",
    "kernel": "6.1",
    "commit": "0",
    "rows": [
        row("floor", [10_000_000] * 3),
        row("meta-overlayroot & more", [12_000_000, 13_500_000, 12_400_000], 2048),
    ],
    "tool": [{"name": "`a`", "whole": 4_000_000, "of_programs": 1_000_000, "system_calls": 7}],
}


def test_medians_are_compared_with_the_floor() -> None:
    assert page.table(RECORD["rows"]).splitlines()[2:] == [
        "| floor | - | 2.00 | 0.00 | 30 | 5 | 20 | 0 | 0.00 |",
        "| meta-overlayroot & more | 2.0 | 2.00 | 2.40 | 30 | 5 | 20 | 0 | 12.10 |",
    ]
    assert page.tool_table(RECORD["tool"]).splitlines()[2:] == ["| `a` | 4.0 | 1.0 | 7 |"]


def test_page_and_picture() -> None:
    text = page.page(RECORD)
    assert "{" not in text and "medians of 3 boots" in text and "`a`; nothing is left out" in text
    drawing = xml.etree.ElementTree.fromstring(page.picture(RECORD))  # noqa: S314 (our own)
    bars = drawing.findall(".//{http://www.w3.org/2000/svg}rect[@fill='#2a7']")
    bars += drawing.findall(".//{http://www.w3.org/2000/svg}rect[@fill='#889']")
    assert len(bars) == 2 and bars[0].get("width") == bars[1].get("width")


def test_what_is_recorded_is_what_the_page_says() -> None:
    docs = pathlib.Path(__file__).resolve().parents[2] / "docs"
    record = json.loads((docs / "benchmarks.json").read_text())
    assert (docs / "benchmarks.md").read_text() == page.page(record)
    assert (docs / "benchmarks.svg").read_text() == page.picture(record)
