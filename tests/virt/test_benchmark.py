# SPDX-License-Identifier: MIT
"""The benchmark's own arithmetic; its boots take too long for `make test`."""

import benchmark
import pytest
import uml


def test_table_compares_medians_with_the_first_row() -> None:
    ours = benchmark.Result("ours", 1024, [10.0, 11.0, 500.0], [100.0] * 3, 2048)
    other = benchmark.Result("other", 4096, [21.0, 22.0, 33.0], [150.0] * 3, 1024)
    rows = benchmark.table([ours, other]).splitlines()[2:]
    assert rows == [
        "| ours | 1 KiB (1.0) | 11 ms (1.0) | 100 ms | 2.0 MiB |",
        "| other | 4 KiB (4.0) | 22 ms (2.0) | 150 ms | 1.0 MiB |",
    ]


def test_moment() -> None:
    log = f"[    0.500000] x\n[    1.250000] {benchmark.START}\n[    2.000000] no {benchmark.END}\n"
    assert benchmark.moment(log, benchmark.START) == 1250
    with pytest.raises(uml.UmlError, match="no `benchmark"):
        benchmark.moment(log, benchmark.END)
