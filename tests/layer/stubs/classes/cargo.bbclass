# SPDX-License-Identifier: MIT
# Stands for the class of oe-core.
CARGO_HOME = "${OVERLAYROOT_UNPACKDIR}/cargo_home"
CARGO_BUILD_FLAGS = "-v --frozen --target ${RUST_HOST_SYS} --manifest-path=${CARGO_MANIFEST_PATH}"
CARGO_TARGET_SUBDIR = "${RUST_HOST_SYS}/release"
RUSTFLAGS += "--remap-path-prefix=${WORKDIR}=${TARGET_DBGSRC_DIR}"
RUST_HOST_SYS = "armv7-poky-linux-gnueabihf"
B = "${WORKDIR}/build"
do_configure() {
    :
}
