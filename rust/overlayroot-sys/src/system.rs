// SPDX-License-Identifier: MIT
//! What the init needs of a kernel.

use alloc::string::String;
use alloc::vec::Vec;

use overlayroot::dm::Command;
use overlayroot::errno::Errno;

/// Result of a system call.
pub type Result<T> = core::result::Result<T, Errno>;

/// Between two looks at what the kernel does not tell of, milliseconds.
pub const LOOK_AGAIN: u64 = 200;

/// Milliseconds of microseconds, rounded up; more than an hour is an hour.
pub fn milliseconds_of(microseconds: u64) -> u64 {
    const HOUR: u32 = 3_600_000_000;
    let bounded = u32::try_from(microseconds).unwrap_or(HOUR).min(HOUR);
    u64::from(bounded.div_ceil(1000))
}

/// Type of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Directory.
    Directory,
    /// Regular file.
    File,
    /// Symbolic link.
    Symlink,
    /// Block device.
    Block,
    /// Anything else.
    Other,
}

/// Attributes of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Type.
    pub kind: Kind,
    /// Permission bits, 07777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major and minor number of a device node.
    pub device: (u32, u32),
}

/// A call of mount(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Device, or a name to show for file systems without one.
    pub source: &'a str,
    /// Mount point.
    pub target: &'a str,
    /// File system type.
    pub fstype: &'a str,
    /// Flags of [`overlayroot::options::flag`].
    pub flags: u32,
    /// Options for the file system, comma separated.
    pub data: &'a str,
}

/// The kernel, as the init sees it. Paths are absolute; every method is one fallible operation.
pub trait System {
    /// Monotonic clock, microseconds; without a clock, the time that was waited.
    fn now(&mut self) -> u64;
    /// Release of the kernel, as `uname -r`.
    fn kernel_release(&mut self) -> String;
    /// MemTotal, bytes.
    fn mem_total(&mut self) -> u64;

    /// Reads a file, at most `limit` bytes of it.
    fn read(&mut self, path: &str, limit: usize) -> Result<Vec<u8>>;
    /// Creates or replaces the contents of a file; a new file gets `mode`.
    fn write(&mut self, path: &str, data: &[u8], mode: u32) -> Result<()>;
    /// Attributes of the entry itself, not of what a symbolic link points to.
    fn stat(&mut self, path: &str) -> Result<Stat>;
    /// Target of a symbolic link.
    fn read_link(&mut self, path: &str) -> Result<String>;
    /// Makes a directory; one that exists is an error.
    fn make_dir(&mut self, path: &str, mode: u32) -> Result<()>;
    /// Gives a directory owner and permission bits.
    fn set_attributes(&mut self, path: &str, stat: &Stat) -> Result<()>;
    /// Sets an extended attribute of the entry itself.
    fn set_xattr(&mut self, path: &str, name: &str, value: &[u8]) -> Result<()>;
    /// Makes a block (`true`) or character device node.
    fn make_node(&mut self, path: &str, block: bool, major: u32, minor: u32) -> Result<()>;

    /// mount(2).
    fn mount(&mut self, mount: &Mount<'_>) -> Result<()>;
    /// umount(2); a busy mount is detached.
    fn unmount(&mut self, target: &str) -> Result<()>;
    /// Moves a mount (`MS_MOVE`).
    fn move_mount(&mut self, from: &str, to: &str) -> Result<()>;

    /// Reads from a block device at a byte offset; a short read is an error.
    fn read_block(&mut self, device: &str, offset: u64, buffer: &mut [u8]) -> Result<()>;
    /// Size of a block device, bytes (`BLKGETSIZE64`).
    fn block_size(&mut self, device: &str) -> Result<u64>;
    /// Size of a sector, bytes, in which partition tables count (`BLKSSZGET`).
    fn sector_size(&mut self, device: &str) -> Result<u32>;
    /// Read-only flag of a block device (`BLKROGET`).
    fn block_read_only(&mut self, device: &str) -> Result<bool>;
    /// Sets the read-only flag of a block device (`BLKROSET`).
    fn set_block_read_only(&mut self, device: &str, read_only: bool) -> Result<()>;
    /// Sends a request of [`overlayroot::dm`] to device-mapper; the answer takes its place.
    fn device_mapper(&mut self, command: Command, request: &mut [u8]) -> Result<()>;
    /// Loads a kernel module; compressed ones where the kernel unpacks them itself.
    fn load_module(&mut self, path: &str, parameters: &str) -> Result<()>;

    /// Starts to listen for uevents.
    fn listen(&mut self) -> Result<()>;
    /// Waits for a uevent about a block device; `false` when `milliseconds` went by without one.
    fn wait(&mut self, milliseconds: u64) -> Result<bool>;

    /// Opens the console as descriptors 0 to 2 where they are not open yet.
    fn open_console(&mut self) -> Result<()>;
    /// Starts the kernel log; lines before that are lost.
    fn open_log(&mut self) -> Result<()>;

    /// Makes `root` the root of this process and frees the initramfs.
    fn switch_root(&mut self, root: &str) -> Result<()>;
    /// Starts `path` in place of this process: returns only when that fails, or in a make-believe system.
    fn exec(&mut self, path: &str) -> Result<()>;
    /// Restarts the board. Does not return on a real one.
    fn reboot(&mut self) -> Result<()>;
}
