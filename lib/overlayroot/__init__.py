# SPDX-License-Identifier: MIT
"""Python code of the layer: conf/layer.conf adds it, recipes call overlayroot.MODULE.FUNCTION."""

BBIMPORTS = ["kconfig"]
