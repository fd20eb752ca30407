// SPDX-License-Identifier: MIT
//! The real kernel, through rustix: raw system calls, no libc.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::{c_char, c_int, c_void, CStr};
use core::mem::MaybeUninit;

use overlayroot::device::decode_number;
use overlayroot::dm::{Command, CONTROL, HEADER};
use overlayroot::errno::Errno;
use overlayroot::text::lossy;
use overlayroot::uevent;
use rustix::buffer::spare_capacity;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{
    chmodat, chownat, lsetxattr, makedev, mkdirat, mknodat, openat, readlinkat_raw, unlinkat,
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, Uid, XattrFlags, CWD,
};
use rustix::mount::{mount, mount_move, unmount, MountFlags, UnmountFlags};
use rustix::net::{netlink, recv, AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::{io, ioctl};

use crate::arch::{poll, stat, EINTR, HERE};
use crate::kmsg;
use crate::path::{c, create, errno, open, NO_PATH, ROOT};
use crate::system::{milliseconds_of, Kind, Mount, Result, Stat, System};

/// `_IO(0x12, 104)` of `linux/fs.h`: bytes of a sector, an int.
const BLKSSZGET: ioctl::Opcode = 0x1268;
/// `_IOR(0x12, 114, size_t)`: bytes of the device, 64 bits.
const BLKGETSIZE64: ioctl::Opcode =
    0x8000_1272 | (core::mem::size_of::<usize>() as ioctl::Opcode) << 16;
/// `_IO(0x12, 93)` and `_IO(0x12, 94)`; both take a pointer to int.
const BLKROSET: ioctl::Opcode = 0x125d;
const BLKROGET: ioctl::Opcode = 0x125e;
/// `MODULE_INIT_COMPRESSED_FILE` of `linux/module.h`.
const COMPRESSED_MODULE: c_int = 4;
/// Magic numbers of the file systems that an initramfs can be (`linux/magic.h`).
const INITRAMFS_MAGICS: [u64; 2] = [0x8584_58f6, 0x0102_1994];

/// The kernel this process runs on.
pub struct Linux {
    /// Arguments and environment that the kernel gave to this process, to pass on.
    argv: *const *const c_char,
    envp: *const *const c_char,
    uevents: Option<OwnedFd>,
    /// The block device that was used last. It stays open: what the kernel has read of it goes with the last close.
    device: Option<(String, OwnedFd)>,
    /// Microseconds of all waits: the clock where the kernel has none.
    waited: u64,
}

impl Linux {
    /// The kernel, for a process with these arguments and this environment.
    ///
    /// # Safety
    /// Both are null-terminated arrays of C strings that live as long as the process, `argv` with at
    /// least one element.
    pub unsafe fn new(argv: *const *const c_char, envp: *const *const c_char) -> Linux {
        Linux {
            argv,
            envp,
            uevents: None,
            device: None,
            waited: 0,
        }
    }

    /// The kernel, for a program that is not PID 1: what it starts has no arguments and no environment.
    pub fn without_arguments() -> Linux {
        static NONE: [usize; 2] = [0; 2];
        // `exec` looks for the end of argv from index 1 on.
        let none = NONE.as_ptr().cast();
        Linux {
            argv: none,
            envp: none,
            uevents: None,
            device: None,
            waited: 0,
        }
    }

    /// A block device, opened unless it is open.
    #[inline(never)]
    fn block(&mut self, path: &str) -> Result<&OwnedFd> {
        if !matches!(&self.device, Some((known, _)) if known == path) {
            self.device = None;
            self.device = Some((path.to_owned(), open(path, OFlags::RDONLY)?));
        }
        match &self.device {
            Some((_, device)) => Ok(device),
            None => Err(Errno::EBADF),
        }
    }
}

impl System for Linux {
    fn now(&mut self) -> u64 {
        crate::arch::monotonic_clock().unwrap_or(self.waited)
    }

    fn kernel_release(&mut self) -> String {
        lossy(rustix::system::uname().release().to_bytes())
    }

    fn mem_total(&mut self) -> u64 {
        let info = rustix::system::sysinfo();
        (info.totalram as u64).saturating_mul(u64::from(info.mem_unit))
    }

    fn read(&mut self, path: &str, limit: usize) -> Result<Vec<u8>> {
        let file = open(path, OFlags::RDONLY)?;
        let mut data = Vec::new();
        // Files of /proc come in pieces and tell no size.
        const PIECE: usize = 4096;
        while data.len() < limit {
            data.reserve(PIECE);
            match io::read(&file, spare_capacity(&mut data)) {
                // Of /proc comes a page of whole lines, none of them that long; other files come as a whole.
                Ok(count) if count < PIECE / 2 => break,
                Ok(_) | Err(io::Errno::INTR) => {}
                Err(error) => return Err(errno(error)),
            }
        }
        data.truncate(limit);
        // The rest is for the next file.
        data.shrink_to_fit();
        Ok(data)
    }

    fn write(&mut self, path: &str, data: &[u8], mode: u32) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
        let file = create(path, flags, mode)?;
        let mut rest = data;
        while !rest.is_empty() {
            match io::write(&file, rest) {
                Ok(0) => return Err(Errno::EIO),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(io::Errno::INTR) => {}
                Err(error) => return Err(errno(error)),
            }
        }
        Ok(())
    }

    fn stat(&mut self, path: &str) -> Result<Stat> {
        let found = stat(HERE, &c(path)?).map_err(Errno)?;
        let kind = match FileType::from_raw_mode(found.mode) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Symlink,
            FileType::BlockDevice => Kind::Block,
            _ => Kind::Other,
        };
        Ok(Stat {
            kind,
            mode: found.mode & 0o7777,
            uid: found.uid,
            gid: found.gid,
            device: decode_number(found.number as u32),
        })
    }

    fn read_link(&mut self, path: &str) -> Result<String> {
        let mut target = [0u8; 4096];
        let length = readlinkat_raw(CWD, &*c(path)?, &mut target[..]).map_err(errno)?;
        // What is no text is no name that anybody here could ask for: it is not found.
        Ok(lossy(target.get(..length).unwrap_or_default()))
    }

    fn make_dir(&mut self, path: &str, mode: u32) -> Result<()> {
        mkdirat(CWD, &*c(path)?, Mode::from_raw_mode(mode)).map_err(errno)
    }

    fn set_attributes(&mut self, path: &str, stat: &Stat) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(stat.uid), Gid::from_raw(stat.gid));
        let path = c(path)?;
        // What was just made is root's.
        if (stat.uid, stat.gid) != (0, 0) {
            chownat(CWD, &*path, Some(uid), Some(gid), AtFlags::empty()).map_err(errno)?;
        }
        chmodat(
            CWD,
            &*path,
            Mode::from_raw_mode(stat.mode),
            AtFlags::empty(),
        )
        .map_err(errno)
    }

    fn set_xattr(&mut self, path: &str, name: &str, value: &[u8]) -> Result<()> {
        let flags = XattrFlags::empty();
        lsetxattr(&*c(path)?, &*c(name)?, value, flags).map_err(errno)
    }

    fn make_node(&mut self, path: &str, block: bool, major: u32, minor: u32) -> Result<()> {
        let kind = if block {
            FileType::BlockDevice
        } else {
            FileType::CharacterDevice
        };
        mknodat(
            CWD,
            &*c(path)?,
            kind,
            Mode::from_raw_mode(0o600),
            makedev(major, minor),
        )
        .map_err(errno)
    }

    fn mount(&mut self, call: &Mount<'_>) -> Result<()> {
        let flags = MountFlags::from_bits_retain(call.flags);
        let (source, target, fstype) = (c(call.source)?, c(call.target)?, c(call.fstype)?);
        let data = c(call.data)?;
        let data = Some(&*data).filter(|data| !data.to_bytes().is_empty());
        mount(&*source, &*target, &*fstype, flags, data).map_err(errno)
    }

    fn unmount(&mut self, target: &str) -> Result<()> {
        let target = c(target)?;
        match unmount(&*target, UnmountFlags::NOFOLLOW) {
            Err(io::Errno::BUSY) => {
                unmount(&*target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            }
            other => other,
        }
        .map_err(errno)
    }

    fn move_mount(&mut self, from: &str, to: &str) -> Result<()> {
        mount_move(&*c(from)?, &*c(to)?).map_err(errno)
    }

    fn read_block(&mut self, device: &str, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let file = self.block(device)?;
        let mut at = 0;
        while let Some(rest) = buffer.get_mut(at..).filter(|rest| !rest.is_empty()) {
            match io::pread(file, rest, offset + at as u64) {
                Ok(0) => return Err(Errno::EIO),
                Ok(count) => at += count,
                Err(io::Errno::INTR) => {}
                Err(error) => return Err(errno(error)),
            }
        }
        Ok(())
    }

    fn block_size(&mut self, device: &str) -> Result<u64> {
        let file = self.block(device)?;
        // SAFETY: BLKGETSIZE64 stores 64 bits through the pointer that Getter passes.
        unsafe { ioctl::ioctl(file, ioctl::Getter::<BLKGETSIZE64, u64>::new()) }.map_err(errno)
    }

    fn sector_size(&mut self, device: &str) -> Result<u32> {
        let file = self.block(device)?;
        // SAFETY: BLKSSZGET stores an int through the pointer that Getter passes.
        unsafe { ioctl::ioctl(file, ioctl::Getter::<BLKSSZGET, u32>::new()) }.map_err(errno)
    }

    fn block_read_only(&mut self, device: &str) -> Result<bool> {
        let file = self.block(device)?;
        // SAFETY: BLKROGET stores an int through the pointer that Getter passes.
        let flag: c_int = unsafe { ioctl::ioctl(file, ioctl::Getter::<BLKROGET, c_int>::new()) }
            .map_err(errno)?;
        Ok(flag != 0)
    }

    fn set_block_read_only(&mut self, device: &str, read_only: bool) -> Result<()> {
        let file = self.block(device)?;
        let flag = c_int::from(read_only);
        // SAFETY: BLKROSET reads an int through the pointer that Setter passes.
        unsafe { ioctl::ioctl(file, ioctl::Setter::<BLKROSET, c_int>::new(flag)) }.map_err(errno)
    }

    fn device_mapper(&mut self, command: Command, request: &mut [u8]) -> Result<()> {
        // A device that is open cannot be removed.
        self.device = None;
        let file = open(CONTROL, OFlags::RDWR)?;
        let length = request.len();
        if length < HEADER {
            return Err(Errno::EINVAL);
        }
        // How large it is.
        for (byte, value) in request
            .iter_mut()
            .skip(12)
            .zip((length as u32).to_ne_bytes())
        {
            *byte = value;
        }
        // SAFETY: the kernel reads and writes as much as the request says (`copy_params()` in
        // drivers/md/dm-ioctl.c), which is what it has, and at least its header.
        unsafe { ioctl::ioctl(&file, DeviceMapper { command, request }) }.map_err(errno)
    }

    fn load_module(&mut self, path: &str, parameters: &str) -> Result<()> {
        let file = open(path, OFlags::RDONLY)?;
        let flags = if path.ends_with(".ko") {
            0
        } else {
            COMPRESSED_MODULE
        };
        rustix::system::finit_module(&file, &c(parameters)?, flags).map_err(errno)
    }

    fn listen(&mut self) -> Result<()> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(netlink::KOBJECT_UEVENT),
        )
        .map_err(errno)?;
        // Group 1 is the kernel's own; udev's is 2.
        rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 1)).map_err(errno)?;
        self.uevents = Some(socket);
        Ok(())
    }

    fn wait(&mut self, milliseconds: u64) -> Result<bool> {
        // What comes meanwhile may be another device of the same name.
        self.device = None;
        let deadline = self.now() + milliseconds * 1000;
        let mut datagram = [0u8; 4096];
        loop {
            let left = deadline.saturating_sub(self.now());
            let socket = self.uevents.as_ref();
            let ready = poll(socket.map(AsRawFd::as_raw_fd), milliseconds_of(left));
            // What is always ready, or is interrupted, takes its time, too.
            self.waited += if ready == Ok(false) { left } else { 1000 };
            let (Some(socket), Ok(true) | Err(EINTR)) = (&self.uevents, ready) else {
                return ready.map_err(Errno);
            };
            // Everything that has come counts as one event.
            let mut block = false;
            loop {
                match recv(socket, &mut datagram[..], RecvFlags::DONTWAIT) {
                    Ok((_, count)) => {
                        block |= uevent::concerns_block(datagram.get(..count).unwrap_or_default());
                    }
                    // Events were lost: look again, to be safe.
                    Err(io::Errno::NOBUFS) => block = true,
                    Err(io::Errno::INTR) => {}
                    Err(_) => break,
                }
            }
            // What is always ready must not outlast the wait.
            if block || left == 0 {
                return Ok(block);
            }
        }
    }

    fn open_console(&mut self) -> Result<()> {
        let console = open("/dev/console", OFlags::RDWR | OFlags::NOCTTY)?;
        let input = rustix::stdio::dup2_stdin(&console);
        let output = rustix::stdio::dup2_stdout(&console);
        let errors = rustix::stdio::dup2_stderr(&console);
        input.and(output).and(errors).map_err(errno)
    }

    fn open_log(&mut self) -> Result<()> {
        let levels = self.read("/proc/sys/kernel/printk", 64).unwrap_or_default();
        kmsg::LOG.start(match *levels {
            [digit, b'\t', ..] => u32::from(digit & 15),
            [_, ..] => 10,
            [] => 7,
        })
    }

    fn switch_root(&mut self, root: &str) -> Result<()> {
        let initramfs = open("/", OFlags::RDONLY | OFlags::DIRECTORY)?;
        rustix::process::chdir(&*c(root)?).map_err(errno)?;
        self.move_mount(".", "/")?;
        rustix::process::chroot(&*c(".")?).map_err(errno)?;
        rustix::process::chdir(&*c("/")?).map_err(errno)?;
        let magic = rustix::fs::fstatfs(&initramfs).map(|s| s.f_type as u64 & 0xffff_ffff);
        if magic.is_ok_and(|magic| INITRAMFS_MAGICS.contains(&magic)) {
            if let Ok(found) = stat(initramfs.as_raw_fd(), NO_PATH) {
                free(&initramfs, found.device, 0);
            }
        }
        Ok(())
    }

    fn exec(&mut self, path: &str) -> Result<()> {
        let path = c(path)?;
        let mut argv = vec![path.as_ptr()];
        let mut at = 1;
        // SAFETY: the arrays are those of `new`: argv has an element 0 and ends with a null pointer.
        unsafe {
            while !(*self.argv.add(at)).is_null() {
                argv.push(*self.argv.add(at));
                at += 1;
            }
        }
        argv.push(core::ptr::null());
        // SAFETY: path and argv were just made and end with null; envp is that of `new`.
        let result = unsafe { crate::arch::execve(path.as_ptr(), argv.as_ptr(), self.envp) };
        Err(Errno((-result) as i32))
    }

    fn reboot(&mut self) -> Result<()> {
        rustix::system::reboot(rustix::system::RebootCommand::Restart).map_err(errno)
    }
}

/// A request on its way to device-mapper.
struct DeviceMapper<'a> {
    command: Command,
    request: &'a mut [u8],
}

// SAFETY: the pointer is to the request, which the kernel changes in place; nothing is taken from it here.
unsafe impl ioctl::Ioctl for DeviceMapper<'_> {
    type Output = ();
    const IS_MUTATING: bool = true;

    /// `_IOWR(0xfd, COMMAND, struct dm_ioctl)` of `linux/dm-ioctl.h`.
    fn opcode(&self) -> ioctl::Opcode {
        0xc000_fd00 | (HEADER as ioctl::Opcode) << 16 | self.command as ioctl::Opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.request.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(_: ioctl::IoctlOutput, _: *mut c_void) -> io::Result<()> {
        Ok(())
    }
}

/// Makes descriptors 0 to 2 point somewhere when the kernel started us without a console, so that no
/// file of ours ends up there.
pub fn fill_standard_descriptors() {
    // The lowest free number is taken; up to 2 it stays open, for what is started, too.
    while let Ok(file) = openat(CWD, ROOT, OFlags::RDONLY, Mode::empty()) {
        if file.as_raw_fd() > 2 {
            break;
        }
        core::mem::forget(file);
    }
}

/// Deletes what is in a directory of the initramfs, on the device `device`. What cannot be deleted stays in RAM and harms
/// nobody: a mount point, for one, which is busy.
fn free(dir: &OwnedFd, device: u64, depth: u32) {
    const ROOM: usize = 2048;
    /// Largest entry: a name of 255 bytes behind `struct linux_dirent64`, with padding.
    const ENTRY: usize = 280;
    let mut buffer = [MaybeUninit::uninit(); ROOM];
    let mut entries = RawDir::new(dir, &mut buffer);
    // Bytes of the buffer that were used.
    let mut filled = 0;
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name();
        filled += (name.to_bytes().len() + 20).next_multiple_of(8);
        if !matches!(name.to_bytes(), b"." | b"..") {
            let is_dir = entry.file_type() == FileType::Directory;
            delete(dir, name, is_dir, device, depth);
        }
        if entries.is_buffer_empty() {
            if filled <= ROOM - ENTRY {
                return; // another entry would have had room: there is none
            }
            filled = 0;
        }
    }
}

/// Deletes one entry, with what is in it.
fn delete(dir: &OwnedFd, name: &CStr, is_dir: bool, device: u64, depth: u32) {
    if !is_dir {
        let _ = unlinkat(dir, name, AtFlags::empty());
        return;
    }
    // Most are empty.
    if unlinkat(dir, name, AtFlags::REMOVEDIR) != Err(io::Errno::NOTEMPTY) || depth > 32 {
        return;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Ok(sub) = openat(dir, name, flags, Mode::empty()) {
        // Not what is mounted there.
        if stat(sub.as_raw_fd(), NO_PATH).is_ok_and(|found| found.device == device) {
            free(&sub, device, depth + 1);
            let _ = unlinkat(dir, name, AtFlags::REMOVEDIR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    /// A socket with a lasting error, or devices that do not leave off, say.
    #[test]
    fn a_wait_ends_though_there_is_always_something_to_look_at() {
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || {
            // Always ready, and no socket.
            let mut linux = Linux::without_arguments();
            linux.uevents = Some(open("/dev/null", OFlags::RDONLY).unwrap());
            ended.send(linux.wait(50)).unwrap();
        });
        assert_eq!(end.recv_timeout(Duration::from_secs(6)), Ok(Ok(false)));
    }
}
