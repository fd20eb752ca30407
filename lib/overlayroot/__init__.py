# SPDX-License-Identifier: MIT
"""Python code of the layer: conf/layer.conf adds it, classes and recipes call overlayroot.MODULE.FUNCTION.

Plain Python: tests need no BitBake.
"""

BBIMPORTS = [
    "boards",
    "bootpart",
    "bundle",
    "checks",
    "content",
    "kconfig",
    "layout",
    "modules",
    "settings",
    "variables",
    "verity",
]
