# SPDX-License-Identifier: MIT
# Stands for the class of meta-rust-bin.
CARGO_HOME = "${WORKDIR}/cargo_home"
B = "${WORKDIR}/target"
RUSTFLAGS += "${EXTRA_RUSTFLAGS}"
EXTRA_RUSTFLAGS ??= ""
RUST_TARGET = "armv7-unknown-linux-gnueabihf"
CARGO_BINDIR = "${B}/${RUST_TARGET}/release"
CARGO_BUILD_FLAGS = "--manifest-path ${CARGO_MANIFEST_PATH} --target=${RUST_TARGET}"
do_configure() {
    :
}
