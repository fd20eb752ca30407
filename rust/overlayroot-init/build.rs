// SPDX-License-Identifier: MIT
//! The init is linked without libc and without its start files.

fn main() {
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-Wl,--gc-sections",
        "-Wl,--build-id=none",
        // Less padding, and what is alike lies together: it compresses better.
        "-Wl,--sort-section=alignment",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("arm") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{folder}/arm.ld");
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=arm.ld");
}
