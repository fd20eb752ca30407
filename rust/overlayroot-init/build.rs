// SPDX-License-Identifier: MIT
//! The init is linked without libc and without its start files.

fn main() {
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-Wl,--gc-sections",
        "-Wl,--build-id=none",
        // The init never unwinds (init.ld), and nothing is made read-only once it runs: it has no data that is relocated.
        "-Wl,--no-eh-frame-hdr",
        "-Wl,-z,norelro",
        // Code and texts in one piece, without pages of padding between them.
        "-Wl,-z,noseparate-code",
        // Less padding, and what is alike lies together: it compresses better.
        "-Wl,--sort-section=alignment",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{folder}/init.ld");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=init.ld");
}
