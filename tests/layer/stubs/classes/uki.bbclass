# SPDX-License-Identifier: MIT
# Stands for the class of oe-core.
INITRAMFS_IMAGE ?= "core-image-minimal-initramfs"
UKI_FILENAME ?= "uki.efi"
UKI_CMDLINE ?= "rootwait root=LABEL=root"
IMAGE_EFI_BOOT_FILES ?= "${UKI_FILENAME};EFI/Linux/${UKI_FILENAME}"
