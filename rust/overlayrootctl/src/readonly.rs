// SPDX-License-Identifier: MIT
//! The kernel, read-only: what the init observes with, for a program that must change nothing.

use std::collections::BTreeSet;

use overlayroot::dm::Command;
use overlayroot::errno::Errno;
use overlayroot_sys::linux::Linux;
use overlayroot_sys::system::{Mount, Result, Stat, System};

/// A system where everything that would change something is refused.
pub struct ReadOnlySystem {
    linux: Linux,
    /// Devices that could not be read, as this process may not.
    pub forbidden: BTreeSet<String>,
}

impl ReadOnlySystem {
    /// This board.
    pub fn new() -> ReadOnlySystem {
        ReadOnlySystem {
            linux: Linux::without_arguments(),
            forbidden: BTreeSet::new(),
        }
    }
}

impl Default for ReadOnlySystem {
    fn default() -> Self {
        ReadOnlySystem::new()
    }
}

const REFUSED: Errno = Errno::EROFS;

impl System for ReadOnlySystem {
    fn now(&mut self) -> u64 {
        self.linux.now()
    }

    fn kernel_release(&mut self) -> String {
        self.linux.kernel_release()
    }

    fn mem_total(&mut self) -> u64 {
        self.linux.mem_total()
    }

    fn read(&mut self, path: &str, limit: usize) -> Result<Vec<u8>> {
        self.linux.read(path, limit)
    }

    fn stat(&mut self, path: &str) -> Result<Stat> {
        self.linux.stat(path)
    }

    fn read_link(&mut self, path: &str) -> Result<String> {
        self.linux.read_link(path)
    }

    fn read_block(&mut self, device: &str, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let read = self.linux.read_block(device, offset, buffer);
        if matches!(read, Err(Errno::EPERM | Errno::EACCES)) {
            self.forbidden.insert(device.to_owned());
        }
        read
    }

    fn block_size(&mut self, device: &str) -> Result<u64> {
        self.linux.block_size(device)
    }

    fn sector_size(&mut self, device: &str) -> Result<u32> {
        self.linux.sector_size(device)
    }

    fn block_read_only(&mut self, device: &str) -> Result<bool> {
        self.linux.block_read_only(device)
    }

    fn listen(&mut self) -> Result<()> {
        self.linux.listen()
    }

    fn wait(&mut self, milliseconds: u64) -> Result<bool> {
        self.linux.wait(milliseconds)
    }

    fn write(&mut self, _: &str, _: &[u8], _: u32) -> Result<()> {
        Err(REFUSED)
    }

    fn make_dir(&mut self, _: &str, _: u32) -> Result<()> {
        Err(REFUSED)
    }

    fn set_attributes(&mut self, _: &str, _: &Stat) -> Result<()> {
        Err(REFUSED)
    }

    fn set_xattr(&mut self, _: &str, _: &str, _: &[u8]) -> Result<()> {
        Err(REFUSED)
    }

    fn make_node(&mut self, _: &str, _: bool, _: u32, _: u32) -> Result<()> {
        Err(REFUSED)
    }

    fn mount(&mut self, _: &Mount<'_>) -> Result<()> {
        Err(REFUSED)
    }

    fn unmount(&mut self, _: &str) -> Result<()> {
        Err(REFUSED)
    }

    fn move_mount(&mut self, _: &str, _: &str) -> Result<()> {
        Err(REFUSED)
    }

    fn set_block_read_only(&mut self, _: &str, _: bool) -> Result<()> {
        Err(REFUSED)
    }

    fn device_mapper(&mut self, _: Command, _: &mut [u8]) -> Result<()> {
        Err(REFUSED)
    }

    fn load_module(&mut self, _: &str, _: &str) -> Result<()> {
        Err(REFUSED)
    }

    fn open_console(&mut self) -> Result<()> {
        Err(REFUSED)
    }

    fn open_log(&mut self) -> Result<()> {
        Err(REFUSED)
    }

    fn switch_root(&mut self, _: &str) -> Result<()> {
        Err(REFUSED)
    }

    fn exec(&mut self, _: &str) -> Result<()> {
        Err(REFUSED)
    }

    fn reboot(&mut self) -> Result<()> {
        Err(REFUSED)
    }
}
