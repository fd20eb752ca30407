# SPDX-License-Identifier: MIT
# Inherited by every recipe of the quick build.

# Maintainer scripts ask for D to know that they do not run on the board; OpenEmbedded's dpkg sets it by itself.
python debian_toolchain_rootfs() {
    import os

    for name in ("D", "OFFLINE_ROOT", "IPKG_OFFLINE_ROOT", "OPKG_OFFLINE_ROOT"):
        os.environ[name] = d.getVar("IMAGE_ROOTFS")
}
DEB_PREPROCESS_COMMANDS = "debian_toolchain_rootfs"
