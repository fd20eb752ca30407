// SPDX-License-Identifier: MIT
//! A make-believe board for tests: files, mounts and block devices in memory, a log of every call, and
//! any call made to fail.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use overlayroot::dm::{self, Command};
use overlayroot::errno::Errno;
use overlayroot::options::flag;
use overlayroot::verity::NAME;

use crate::system::{Kind, Mount, Result, Stat, System};

#[derive(Clone, Debug)]
pub enum Node {
    Dir,
    File(Vec<u8>, u32),
    Link(String),
    Block(u32, u32),
    Char,
}

/// A block device: what is on it, and how it behaves.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub name: String,
    pub numbers: (u32, u32),
    pub data: Vec<u8>,
    /// Bytes of a sector; 0: 512.
    pub sector: u32,
    pub fstype: String,
    pub tree: BTreeMap<String, Node>,
    pub locked: bool,
    pub dirty: bool,
    /// Its journal can be neither used nor replayed.
    pub journal_broken: bool,
    /// Appears only after this many uevents.
    pub after: usize,
    /// What was done to it that a read-only root must never see.
    pub writes: Vec<String>,
}

/// A mount: where, what, and whether it is writable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    pub target: String,
    pub fstype: String,
    pub source: String,
    pub read_only: bool,
}

#[derive(Clone, Debug)]
pub struct Fake {
    pub tree: BTreeMap<String, Node>,
    pub mounts: Vec<Mounted>,
    pub disks: Vec<Disk>,
    /// File systems that the kernel has.
    pub filesystems: Vec<String>,
    /// Its drivers refuse to set a device read-only.
    pub never_locked: bool,
    /// The kernel's tmpfs has no attributes.
    pub no_xattr: bool,
    /// 3.10's overlayfs takes no workdir.
    pub workdir_unknown: bool,
    /// Root hash that fits the card's root partition; empty: the kernel has no dm-verity.
    pub root_hash: String,
    /// The verified device: its name, its table, and whether that is in force.
    pub mapped: Option<(String, String, bool)>,
    /// The overlay module that a lower may carry registers this.
    pub module: Option<String>,
    /// Calls to fail, by number, with this error.
    pub fail: Vec<(usize, Errno)>,
    pub calls: Vec<String>,
    pub started: Option<String>,
    pub rebooted: bool,
    pub switched: bool,
    pub uevents: usize,
    clock: u64,
}

impl Default for Fake {
    fn default() -> Fake {
        Fake {
            tree: BTreeMap::from([("/".to_owned(), Node::Dir)]),
            mounts: Vec::new(),
            disks: Vec::new(),
            filesystems: [
                "devtmpfs", "proc", "sysfs", "tmpfs", "ext4", "squashfs", "overlay",
            ]
            .map(ToOwned::to_owned)
            .to_vec(),
            never_locked: false,
            no_xattr: false,
            workdir_unknown: false,
            root_hash: String::new(),
            mapped: None,
            module: None,
            fail: Vec::new(),
            calls: Vec::new(),
            started: None,
            rebooted: false,
            switched: false,
            uevents: 0,
            clock: 0,
        }
    }
}

/// The first 4 KiB of an ext4 file system, clean or with a journal to replay.
pub fn ext4(label: &str, dirty: bool) -> Vec<u8> {
    let mut data = vec![0u8; 4 << 10];
    let mut put =
        |at: usize, bytes: &[u8]| data[1024 + at..1024 + at + bytes.len()].copy_from_slice(bytes);
    put(0, &64u32.to_le_bytes()); // inodes
    put(4, &128u32.to_le_bytes()); // blocks
    put(24, &0u32.to_le_bytes()); // 1 KiB blocks
    put(56, &0xef53u16.to_le_bytes());
    put(58, &1u16.to_le_bytes()); // cleanly unmounted
    put(76, &1u32.to_le_bytes()); // revision with features
    put(92, &4u32.to_le_bytes()); // has a journal
    put(
        96,
        &(0x40u32 | 0x2 | if dirty { 4 } else { 0 }).to_le_bytes(),
    ); // extents, file types
    put(104, &[0x11; 16]);
    put(120, label.as_bytes());
    data
}

/// The part of a btrfs that is read: a superblock, with a log tree to be replayed or without.
pub fn btrfs(log_tree: bool) -> Vec<u8> {
    let mut data = vec![0u8; 66 << 10];
    data[65536 + 64..65536 + 72].copy_from_slice(b"_BHRfS_M");
    data[65536 + 96] = u8::from(log_tree);
    data
}

impl Fake {
    /// A board whose SD card has an ext4 root on partition 2, booted with this command line.
    pub fn board(line: &str) -> Fake {
        let mut fake = Fake::default();
        fake.file("/proc/cmdline", line.as_bytes(), 0o444);
        let mut tree = BTreeMap::new();
        for dir in [
            "/", "/dev", "/proc", "/sys", "/run", "/etc", "/mnt", "/sbin",
        ] {
            tree.insert(dir.to_owned(), Node::Dir);
        }
        tree.insert(
            "/sbin/init".to_owned(),
            Node::File(b"\x7fELF".to_vec(), 0o755),
        );
        let table = b"/dev/mmcblk0p2 / ext4 defaults 0 1\n/dev/sda1 none swap sw 0 0\n";
        tree.insert("/etc/fstab".to_owned(), Node::File(table.to_vec(), 0o644));
        fake.disks = vec![
            Disk {
                name: "mmcblk0".into(),
                numbers: (179, 0),
                data: vec![0; 4096],
                ..Disk::default()
            },
            Disk {
                name: "mmcblk0p2".into(),
                numbers: (179, 2),
                data: ext4("ROOT", false),
                fstype: "ext4".into(),
                tree,
                ..Disk::default()
            },
        ];
        fake
    }

    /// The card's root partition.
    pub fn root(&mut self) -> &mut Disk {
        self.disks.last_mut().unwrap()
    }

    pub fn dirs(&mut self, paths: &[&str]) {
        for path in paths {
            self.tree.insert((*path).to_owned(), Node::Dir);
        }
    }

    pub fn file(&mut self, path: &str, data: &[u8], mode: u32) {
        self.tree
            .insert(path.to_owned(), Node::File(data.to_vec(), mode));
    }

    pub fn link(&mut self, path: &str, target: &str) {
        self.tree
            .insert(path.to_owned(), Node::Link(target.to_owned()));
    }

    pub fn text(&self, path: &str) -> Option<String> {
        match self.tree.get(path) {
            Some(Node::File(data, _)) => Some(String::from_utf8_lossy(data).into_owned()),
            _ => None,
        }
    }

    /// Microseconds since power-on.
    pub fn elapsed(&self) -> u64 {
        self.clock
    }

    pub fn mounted_at(&self, target: &str) -> Option<&Mounted> {
        self.mounts.iter().rfind(|m| m.target == target)
    }

    /// Logs the call and fails it when it is its turn.
    fn call(&mut self, text: String) -> Result<()> {
        self.clock += 10;
        let number = self.calls.len();
        self.calls.push(text);
        match self.fail.iter().find(|(n, _)| *n == number) {
            Some((_, error)) => Err(*error),
            None => Ok(()),
        }
    }

    fn visible(&self) -> impl Iterator<Item = &Disk> {
        let uevents = self.uevents;
        self.disks.iter().filter(move |d| d.after <= uevents)
    }

    fn disk(&mut self, device: &str) -> Result<&mut Disk> {
        let uevents = self.uevents;
        let numbers = match self.tree.get(device) {
            Some(Node::Block(major, minor)) => Some((*major, *minor)),
            _ => None,
        };
        self.disks
            .iter_mut()
            .find(|d| {
                d.after <= uevents
                    && (format!("/dev/{}", d.name) == device || Some(d.numbers) == numbers)
            })
            .ok_or(Errno::ENOENT)
    }

    /// Attaches a tree below a mount point.
    fn attach(&mut self, target: &str, tree: &BTreeMap<String, Node>) {
        for (path, node) in tree {
            let path = if path == "/" {
                target.to_owned()
            } else {
                format!("{target}{path}")
            };
            self.tree.insert(path, node.clone());
        }
    }

    fn below(&self, top: &str) -> BTreeMap<String, Node> {
        let prefix = format!("{top}/");
        self.tree
            .iter()
            .filter_map(|(path, node)| {
                let rest = path.strip_prefix(&prefix)?;
                Some((format!("/{rest}"), node.clone()))
            })
            .collect()
    }

    fn detach(&mut self, top: &str) {
        let prefix = format!("{top}/");
        self.tree.retain(|path, _| !path.starts_with(&prefix));
    }

    /// The mount that holds `path`.
    fn holder(&self, path: &str) -> Option<&Mounted> {
        self.mounts
            .iter()
            .filter(|m| path == m.target || path.starts_with(&format!("{}/", m.target)))
            .max_by_key(|m| m.target.len())
    }

    fn create(&mut self, path: &str, node: Node) -> Result<()> {
        let (read_only, source) = match self.holder(path) {
            Some(mount) => (mount.read_only, mount.source.clone()),
            None => (false, String::new()),
        };
        if read_only {
            return Err(Errno::EROFS);
        }
        let parent = match path.rsplit_once('/') {
            Some(("", _)) | None => "/",
            Some((parent, _)) => parent,
        };
        if !matches!(self.tree.get(parent), Some(Node::Dir)) {
            return Err(Errno::ENOENT);
        }
        self.tree.insert(path.to_owned(), node);
        if let Ok(disk) = self.disk(&source) {
            disk.writes.push(format!("created {path}"));
        }
        Ok(())
    }
}

impl System for Fake {
    fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn kernel_release(&mut self) -> String {
        "3.10.53".to_owned()
    }

    fn mem_total(&mut self) -> u64 {
        1 << 30
    }

    fn read(&mut self, path: &str, limit: usize) -> Result<Vec<u8>> {
        self.call(format!("read {path}"))?;
        if path == "/proc/filesystems" {
            let text: Vec<_> = self
                .filesystems
                .iter()
                .map(|f| format!("nodev\t{f}\n"))
                .collect();
            return Ok(text.concat().into_bytes());
        }
        if path == "/proc/partitions" {
            let line = |d: &Disk| format!(" {} {} 128 {}\n", d.numbers.0, d.numbers.1, d.name);
            let text: Vec<_> = self.visible().map(line).collect();
            return Ok(text.concat().into_bytes());
        }
        match self.tree.get(path) {
            Some(Node::File(data, _)) => Ok(data[..data.len().min(limit)].to_vec()),
            _ => Err(Errno::ENOENT),
        }
    }

    fn write(&mut self, path: &str, data: &[u8], mode: u32) -> Result<()> {
        self.call(format!("write {path}"))?;
        self.create(path, Node::File(data.to_vec(), mode))
    }

    fn stat(&mut self, path: &str) -> Result<Stat> {
        self.call(format!("stat {path}"))?;
        let stat = |kind, mode, device| {
            Ok(Stat {
                kind,
                mode,
                uid: 0,
                gid: 0,
                device,
            })
        };
        let node = self
            .visible()
            .find(|d| format!("/dev/{}", d.name) == path)
            .map(|d| d.numbers);
        if let Some(numbers) = node {
            return stat(Kind::Block, 0o600, numbers);
        }
        match self.tree.get(path) {
            Some(Node::Dir) => stat(Kind::Directory, 0o755, (0, 0)),
            Some(Node::File(_, mode)) => stat(Kind::File, *mode, (0, 0)),
            Some(Node::Link(_)) => stat(Kind::Symlink, 0o777, (0, 0)),
            Some(Node::Block(major, minor)) => stat(Kind::Block, 0o600, (*major, *minor)),
            Some(Node::Char) => stat(Kind::Other, 0o600, (0, 0)),
            None => Err(Errno::ENOENT),
        }
    }

    fn read_link(&mut self, path: &str) -> Result<String> {
        self.call(format!("read link {path}"))?;
        match self.tree.get(path) {
            Some(Node::Link(target)) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn make_dir(&mut self, path: &str, _mode: u32) -> Result<()> {
        self.call(format!("make dir {path}"))?;
        if self.tree.contains_key(path) {
            return Err(Errno::EEXIST);
        }
        self.create(path, Node::Dir)
    }

    fn set_attributes(&mut self, path: &str, _stat: &Stat) -> Result<()> {
        self.call(format!("set attributes {path}"))
    }

    fn set_xattr(&mut self, path: &str, name: &str, _value: &[u8]) -> Result<()> {
        self.call(format!("set {name} of {path}"))?;
        if self.no_xattr {
            return Err(Errno::EOPNOTSUPP);
        }
        Ok(())
    }

    fn make_node(&mut self, path: &str, block: bool, major: u32, minor: u32) -> Result<()> {
        self.call(format!("make node {path}"))?;
        self.create(
            path,
            if block {
                Node::Block(major, minor)
            } else {
                Node::Char
            },
        )
    }

    fn mount(&mut self, mount: &Mount<'_>) -> Result<()> {
        let read_only = mount.flags & flag::RDONLY != 0;
        let access = if read_only { "ro" } else { "rw" };
        self.call(format!(
            "mount {} {} {} {access} {}",
            mount.fstype, mount.source, mount.target, mount.data
        ))?;
        if mount.flags & flag::REMOUNT != 0 {
            assert_eq!(mount.flags & flag::BIND, flag::BIND);
            let target = mount.target;
            let there = self.mounts.iter().any(|m| m.target == target);
            return there.then_some(()).ok_or(Errno::EINVAL);
        }
        if !self.filesystems.iter().any(|f| f == mount.fstype) {
            return Err(Errno::ENODEV);
        }
        if !matches!(self.tree.get(mount.target), Some(Node::Dir)) {
            return Err(Errno::ENOENT);
        }
        let tree = if mount.fstype.starts_with("overlay") {
            if self.workdir_unknown && mount.data.contains("workdir=") {
                return Err(Errno::EINVAL);
            }
            self.below("/mnt/root-RO")
        } else if mount.source.starts_with("/dev/") {
            let disk = self.disk(mount.source)?;
            if disk.fstype != mount.fstype || mount.data.contains("rubbish") {
                return Err(Errno::EINVAL);
            }
            let source = mount.source;
            let mut mounts = self.mounts.iter().filter(|m| m.source == source);
            if mounts.any(|m| m.read_only != read_only) {
                return Err(Errno::EBUSY); // one superblock cannot be both
            }
            let disk = self.disk(mount.source)?;
            let frozen = mount.data.contains("noload");
            if disk.locked && (!read_only || (disk.dirty && !frozen)) {
                return Err(Errno::EROFS);
            }
            if disk.journal_broken && !frozen {
                if disk.dirty {
                    disk.writes.push("replay".to_owned()); // some of it
                }
                return Err(if disk.dirty {
                    Errno::EIO
                } else {
                    Errno::EINVAL
                });
            }
            if disk.dirty && !frozen {
                disk.writes.push("replay".to_owned());
                disk.dirty = false;
            }
            // Of the file system's options, rw wins over the flag of the mount.
            if !read_only || mount.data.split(',').any(|option| option == "rw") {
                disk.writes.push("mounted writable".to_owned());
            }
            disk.tree.clone()
        } else {
            BTreeMap::new()
        };
        self.attach(mount.target, &tree);
        self.mounts.push(Mounted {
            target: mount.target.to_owned(),
            fstype: mount.fstype.to_owned(),
            source: mount.source.to_owned(),
            read_only,
        });
        Ok(())
    }

    fn unmount(&mut self, target: &str) -> Result<()> {
        self.call(format!("unmount {target}"))?;
        let at = self
            .mounts
            .iter()
            .rposition(|m| m.target == target)
            .ok_or(Errno::EINVAL)?;
        self.mounts.remove(at);
        self.detach(target);
        Ok(())
    }

    fn move_mount(&mut self, from: &str, to: &str) -> Result<()> {
        self.call(format!("move {from} {to}"))?;
        if !matches!(self.tree.get(to), Some(Node::Dir)) {
            return Err(Errno::ENOTDIR);
        }
        let mount = self
            .mounts
            .iter_mut()
            .rfind(|m| m.target == from)
            .ok_or(Errno::EINVAL)?;
        mount.target = to.to_owned();
        let tree = self.below(from);
        self.detach(from);
        self.detach(to); // what was there is hidden
        self.attach(to, &tree);
        Ok(())
    }

    fn read_block(&mut self, device: &str, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.call(format!("read block {device} {offset}"))?;
        let disk = self.disk(device)?;
        let offset = usize::try_from(offset).map_err(|_| Errno::EIO)?;
        let end = offset.checked_add(buffer.len()).ok_or(Errno::EIO)?;
        buffer.copy_from_slice(disk.data.get(offset..end).ok_or(Errno::EIO)?);
        Ok(())
    }

    fn block_size(&mut self, device: &str) -> Result<u64> {
        self.call(format!("size {device}"))?;
        Ok(self.disk(device)?.data.len() as u64)
    }

    fn sector_size(&mut self, device: &str) -> Result<u32> {
        self.call(format!("size of a sector {device}"))?;
        Ok(match self.disk(device)?.sector {
            0 => 512,
            sector => sector,
        })
    }

    fn block_read_only(&mut self, device: &str) -> Result<bool> {
        self.call(format!("is read-only {device}"))?;
        Ok(self.disk(device)?.locked)
    }

    fn set_block_read_only(&mut self, device: &str, read_only: bool) -> Result<()> {
        self.call(format!("set read-only {device} {read_only}"))?;
        if self.never_locked {
            return Err(Errno::EIO);
        }
        self.disk(device)?.locked = read_only;
        Ok(())
    }

    fn device_mapper(&mut self, command: Command, request: &mut [u8]) -> Result<()> {
        self.call(format!("device-mapper {command:?}"))?;
        assert_eq!(request[48..48 + NAME.len()], *NAME.as_bytes());
        let mapped = self.mapped.as_mut();
        match command {
            Command::DevCreate if mapped.is_some() => Err(Errno::EBUSY),
            Command::DevCreate => {
                self.mapped = Some((NAME.to_owned(), String::new(), false));
                // 253:0
                request[40..44].copy_from_slice(&0xfd00u32.to_le_bytes());
                Ok(())
            }
            Command::TableLoad => {
                if self.root_hash.is_empty() {
                    return Err(Errno::EINVAL);
                }
                let text = request[dm::HEADER + 40..].split(|&b| b == 0).next();
                mapped.ok_or(Errno::ENXIO)?.1 = String::from_utf8_lossy(text.unwrap()).into_owned();
                Ok(())
            }
            Command::DevSuspend => {
                let (_, table, live) = mapped.ok_or(Errno::ENXIO)?;
                *live = true;
                let fits = table.contains(&self.root_hash);
                let mut disk = self.root().clone();
                disk.name = "dm-0".to_owned();
                disk.numbers = (253, 0);
                disk.locked = true;
                if !fits {
                    disk.fstype.clear(); // not a block of it can be read
                }
                self.disks.insert(0, disk);
                Ok(())
            }
            Command::DevRemove => {
                if self
                    .mounts
                    .iter()
                    .any(|m| m.source == overlayroot::verity::DEVICE)
                {
                    return Err(Errno::EBUSY);
                }
                self.mapped.take().ok_or(Errno::ENXIO)?;
                self.disks.retain(|d| d.name != "dm-0");
                Ok(())
            }
            Command::TableStatus => Err(Errno::ENXIO),
        }
    }

    fn load_module(&mut self, path: &str, parameters: &str) -> Result<()> {
        self.call(format!("load {path} {parameters}"))?;
        if !self.tree.contains_key(path) {
            return Err(Errno::ENOENT);
        }
        if path.contains("/overlay.ko") {
            self.filesystems.extend(self.module.clone());
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<()> {
        self.call("listen".to_owned())
    }

    fn wait(&mut self, milliseconds: u64) -> Result<bool> {
        self.call(format!("wait {milliseconds}"))?;
        self.uevents += 1;
        // Every wait either brings an event or runs out.
        if self.disks.iter().any(|d| d.after >= self.uevents) {
            self.clock += 1000;
            return Ok(true);
        }
        self.clock += milliseconds * 1000;
        Ok(false)
    }

    fn open_console(&mut self) -> Result<()> {
        self.call("open console".to_owned())
    }

    fn open_log(&mut self) -> Result<()> {
        self.call("open log".to_owned())
    }

    fn switch_root(&mut self, root: &str) -> Result<()> {
        self.call(format!("switch root {root}"))?;
        self.switched = true;
        Ok(())
    }

    fn exec(&mut self, path: &str) -> Result<()> {
        self.call(format!("exec {path}"))?;
        self.started = Some(path.to_string());
        Ok(())
    }

    fn reboot(&mut self) -> Result<()> {
        self.call("reboot".to_owned())?;
        self.rebooted = true;
        Ok(())
    }
}
