# SPDX-License-Identifier: MIT
"""What is made of the record of a benchmark: a table, docs/benchmarks.md and its picture."""

import html
import math
import pathlib
import statistics

# A row's numbers: see `rig.Cost`.
NUMBERS = ("whole", "inside", "of_programs", "system_calls", "disk_reads", "disk_kib", "memory_kib")

TITLE = "From `Run /init` to the system's first program, millions of instructions"
PAGE = pathlib.Path(__file__).with_suffix(".template")


def middle(row: dict, name: str) -> float:
    """The median of one number of a row."""
    return statistics.median(boot[name] for boot in row["boots"])


def spread(row: dict, name: str) -> float:
    """Largest less smallest, percent of the median."""
    values = [boot[name] for boot in row["boots"]]
    return 100 * (max(values) - min(values)) / max(statistics.median(values), 1)


def table(rows: list[dict]) -> str:
    """A Markdown table; the first row is the floor."""
    floor = rows[0]
    lines = [
        "| | initramfs, KiB | `/init` to the system's init, ms | whole boot above the floor, ms "
        "| system calls | disk reads | KiB read | memory, KiB | spread, % |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        size = f"{row['initramfs_bytes'] / 1024:,.1f}" if row["initramfs_bytes"] else "-"
        above = middle(row, "whole") - middle(floor, "whole")
        memory = middle(floor, "memory_kib") - middle(row, "memory_kib")
        lines.append(
            f"| {row['name']} | {size} | {middle(row, 'inside') / 1e6:,.2f} | {above / 1e6:,.2f} "
            f"| {middle(row, 'system_calls'):,.0f} | {middle(row, 'disk_reads'):,.0f} "
            f"| {middle(row, 'disk_kib'):,.0f} | {memory:,.0f} "
            f"| {spread(row, 'whole'):.2f} |"
        )
    return "\n".join(lines)


def tool_table(rows: list[dict]) -> str:
    """A Markdown table of what the tool and others cost."""
    lines = ["| | millions of instructions | of programs | system calls |", "|---|--:|--:|--:|"]
    lines += [
        f"| {row['name']} | {row['whole'] / 1e6:,.1f} | {row['of_programs'] / 1e6:,.1f} "
        f"| {row['system_calls']:,} |"
        for row in rows
    ]
    return "\n".join(lines)


def page(record: dict) -> str:
    """docs/benchmarks.md."""
    contestants = [
        f"* **{row['name']}**: {row['command_line'] and '`{}`; '.format(row['command_line'])}"
        + (f"without {row['leaves_out']}." if row["leaves_out"] else "nothing is left out.")
        for row in record["rows"]
    ]
    return PAGE.read_text().format(
        table=table(record["rows"]),
        tool=tool_table(record["tool"]),
        runs=len(record["rows"][0]["boots"]),
        kernel=record["kernel"],
        qemu=record["qemu"],
        commit=record["commit"],
        contestants="\n".join(contestants),
    )


def picture(record: dict) -> str:
    """docs/benchmarks.svg: a bar for each row, on a logarithmic scale of 0.1 ms to 1 s."""
    left, width, height, top = 290, 400, 24, 30
    decades = (0.1, 1, 10, 100, 1000)

    def x(value: float) -> float:
        share = math.log10(max(value, decades[0]) / decades[0]) / math.log10(decades[-1] / decades[0])
        return left + width * min(share, 1)

    rows = record["rows"]
    bottom = top + height * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 90} {bottom + 30}" '
        'font-family="sans-serif" font-size="12">',
        "<!-- SPDX-License-Identifier: MIT -->",
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="18">{TITLE}</text>',
    ]
    for decade in decades:
        parts.append(
            f'<line x1="{x(decade):.1f}" x2="{x(decade):.1f}" y1="{top}" y2="{bottom}" stroke="#ccc"/>'
            f'<text x="{x(decade):.1f}" y="{bottom + 16}" text-anchor="middle">{decade:g}</text>'
        )
    for number, row in enumerate(rows):
        value = middle(row, "inside") / 1e6
        y = top + height * number
        colour = "#2a7" if row["name"].startswith("meta-overlayroot") else "#889"
        parts.append(
            f'<text x="{left - 6}" y="{y + 16}" text-anchor="end">{html.escape(row["name"])}</text>'
            f'<rect x="{left}" y="{y + 4}" width="{x(value) - left:.1f}" height="{height - 8}" '
            f'fill="{colour}"/>'
            f'<text x="{x(value) + 4:.1f}" y="{y + 16}">{value:,.2f}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"
