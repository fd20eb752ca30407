// SPDX-License-Identifier: MIT
//! What std would bring: an entry point, an allocator, memory functions, a panic handler.

mod allocator;
mod entry;
mod memory;

use core::panic::PanicInfo;

/// A panic is a bug; the board restarts rather than hang (the kernel's own panic is the last resort).
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    const MESSAGE: &[u8] = b"overlayroot: error: internal error in the init; rebooting\n";
    say(MESSAGE);
    let _ = rustix::system::reboot(rustix::system::RebootCommand::Restart);
    entry::exit(1)
}

/// Writes to standard error, where that is open.
pub fn say(message: &[u8]) {
    // SAFETY: a descriptor that is not open makes write fail.
    let stderr = unsafe { rustix::stdio::stderr() };
    let _ = rustix::io::write(stderr, message); // nowhere is left to report a failure to
}
