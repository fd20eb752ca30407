# nooelint: oelint.var.mandatoryvar.LICENSE: core-image-minimal has it
# SPDX-License-Identifier: MIT
SUMMARY = "Example: the smallest system of OpenEmbedded with a protected root"
DESCRIPTION = "core-image-minimal, and a card that boots it read-only with RAM over it."

# nooelint: oelint.file.requirenotfound: of oe-core
require recipes-core/images/core-image-minimal.bb

inherit overlayroot-image
