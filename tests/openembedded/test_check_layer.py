# SPDX-License-Identifier: MIT
"""The Yocto Project's own check of a layer: documents, series, and that adding it changes no signature."""

from series import LAYER, Series


def test_yocto_check_layer(series: Series) -> None:
    files = f"kas/include/core.yml:kas/opt/{series.name}.yml:local.yml"
    output = series.shell(
        files, f"yocto-check-layer {LAYER}", folder=f"check-{series.name}", timeout=4 * 3600
    )
    summary = output.rsplit("Summary of results", 1)
    assert len(summary) == 2, output[-3000:]
    assert "PASS" in summary[1] and "FAIL" not in summary[1], output[-6000:]
    assert "SKIP" not in summary[1], output[-6000:]
