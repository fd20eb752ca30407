# SPDX-License-Identifier: MIT
"""Python code of the layer: conf/layer.conf adds it, classes and recipes call overlayroot.MODULE.FUNCTION.

Plain Python: tests need no BitBake.
"""

BBIMPORTS = [
    "boards",
    "bootpart",
    "checks",
    "cmdline",
    "content",
    "fit",
    "kconfig",
    "layout",
    "modules",
    "route_bundle",
    "route_efi",
    "route_extlinux",
    "route_fit",
    "route_rpi",
    "route_script",
    "routes",
    "settings",
    "variables",
    "verity",
    "wks",
]
