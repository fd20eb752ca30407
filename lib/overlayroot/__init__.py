# SPDX-License-Identifier: MIT
"""Python code of the layer. conf/layer.conf adds it with addpylib: recipes call overlayroot.MODULE.FUNCTION."""

BBIMPORTS = ["kconfig"]
