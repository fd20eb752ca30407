// SPDX-License-Identifier: MIT
//! Whole boots on a make-believe board with hostile disks, links and failing calls: each ends, writes to
//! the root only where the command line or a dirty journal allows it, and never passes through a link.

use overlayroot::cmdline::words;
use overlayroot::config;
use overlayroot::dm::Command;
use overlayroot::errno::Errno;
use overlayroot::settings::Settings;
use overlayroot_sys::system::{Mount, Result, Stat, System};
use overlayroot_sys::{run as boot, Boot, End};

use crate::disk::Disk;
use crate::fake::{ext4, Fake, Mounted, Node};
use crate::input::Input;

/// Pieces of paths that links are made of, and where they are put.
const NAMES: [&str; 16] = [
    "etc",
    "fstab",
    "mnt",
    "root-RO",
    "root-RW",
    "run",
    "sbin",
    "init",
    "dev",
    "proc",
    "..",
    ".",
    "",
    "/",
    "x",
    "overlayroot",
];
/// What follows the root's own mount in the make-believe kernel.
const ERRORS: [Errno; 5] = [
    Errno::EIO,
    Errno::ENOMEM,
    Errno::ENOENT,
    Errno::EROFS,
    Errno::ENODEV,
];

/// One input: switches, calls that fail, links and files of the root, configuration, command line, a disk.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let switches = input.byte();
    let mut fake = Fake::board("");
    for _ in 0..input.byte() % 3 {
        let error = ERRORS[usize::from(input.byte()) % ERRORS.len()];
        fake.fail.push((input.number(2) as usize % 400, error));
    }
    let entries = input.byte() % 8;
    for _ in 0..entries {
        entry(&mut fake, &mut input);
    }
    let conf = input.piece();
    let line = input.piece();
    if switches & 1 != 0 {
        fake.file("/etc/overlayroot.conf", conf, 0o644);
    }
    let line = match switches & 2 {
        0 => [b"root=LABEL=ROOT ", line].concat(),
        _ => line.to_vec(),
    };
    fake.file("/proc/cmdline", &line, 0o444);
    let dirty = switches & 4 != 0;
    fake.root().dirty = dirty;
    fake.root().data = ext4("ROOT", dirty);
    hostile_card(&mut fake, &mut input);
    let lower = fake.root().tree.clone();
    let says_no = says_no(if switches & 1 != 0 { conf } else { b"" }, &line);

    let mut board = Watched(fake);
    let end = boot(&mut board, Boot { program: "fuzz" });
    let mut fake = board.0;
    let report = match &end {
        End::Started(report) | End::Rebooted(report) => report,
    };
    assert!(fake.calls.len() < 3000, "{} calls", fake.calls.len());
    assert_eq!(matches!(end, End::Started(_)), fake.started.is_some());
    assert!(!report.to_json().is_empty());
    let root = fake
        .disks
        .iter_mut()
        .find(|d| d.name == "mmcblk0p2")
        .expect("the root");
    for write in &root.writes {
        match write.as_str() {
            "replay" => assert!(dirty),
            _ => assert!(says_no, "writable, and nobody said overlayfs=no"),
        }
    }
    assert_eq!(
        format!("{:?}", root.tree),
        format!("{lower:?}"),
        "the lower has changed"
    );
    if matches!(end, End::Started(_)) && report.protected {
        assert!(fake
            .mounts
            .iter()
            .all(|m| m.fstype != "ext4" || m.read_only));
    }
}

/// A second disk, whatever is on it; it may appear late.
fn hostile_card(fake: &mut Fake, input: &mut Input<'_>) {
    let after = usize::from(input.byte() % 4);
    let disk = Disk::read(input);
    let data = disk.at::<{ 68 << 10 }>(0);
    let data = data[..data.len().min(disk.size() as usize)].to_vec();
    fake.disks.insert(
        0,
        crate::fake::Disk {
            name: "sda".into(),
            numbers: (8, 0),
            data,
            after,
            ..crate::fake::Disk::default()
        },
    );
}

fn says_no(conf: &[u8], line: &[u8]) -> bool {
    !Settings::merge(&config::parse(conf).0, &words(line)).overlay
}

/// A link or a file in the root, or nothing where something should be.
fn entry(fake: &mut Fake, input: &mut Input<'_>) {
    let path = |input: &mut Input<'_>, count: u8| {
        let mut text = String::new();
        for _ in 0..count {
            text.push_str(NAMES[usize::from(input.byte()) % NAMES.len()]);
            text.push('/');
        }
        text
    };
    let kind = input.byte();
    let place = path(input, 1 + kind % 2);
    let parts: Vec<&str> = place
        .split('/')
        .filter(|p| !matches!(*p, "" | "." | ".."))
        .collect();
    if parts.is_empty() {
        return;
    }
    let place = format!("/{}", parts.join("/"));
    let parent = place
        .rsplit_once('/')
        .map_or("", |(parent, _)| parent)
        .to_owned();
    let tree = &mut fake.root().tree;
    if !parent.is_empty() && !matches!(tree.get(&parent), Some(Node::Dir)) {
        return;
    }
    let below = format!("{place}/");
    tree.retain(|path, _| *path != place && !path.starts_with(&below));
    let node = match kind >> 1 & 7 {
        0 => return,
        1 => Node::Char,
        2 => Node::File(input.bytes(16).to_vec(), 0o644),
        3 => Node::Dir,
        4 => Node::Link(format!("/{}", path(input, 3))),
        _ => {
            let count = input.byte() % 6;
            Node::Link(path(input, count).trim_end_matches('/').to_owned())
        }
    };
    fake.root().tree.insert(place, node);
}

/// The board, where every path that something is done to is looked at first: the make-believe kernel
/// follows no links, the real one does.
struct Watched(Fake);

impl Watched {
    /// No part of the path is a link.
    fn is_plain(&self, path: &str) {
        assert!(path.starts_with('/') && !path.contains('\0'), "{path:?}");
        assert!(path.split('/').all(|part| part != ".."), "{path:?}");
        let mut here = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            here.push('/');
            here.push_str(part);
            let node = self.0.tree.get(&here);
            assert!(
                !matches!(node, Some(Node::Link(_))),
                "{path} passes through the link {here}"
            );
        }
    }

    /// No part of the path but the last one is a link.
    fn leads_to_an_entry(&self, path: &str) {
        if let Some((parent, _)) = path
            .rsplit_once('/')
            .filter(|(parent, _)| !parent.is_empty())
        {
            self.is_plain(parent);
        }
    }

    /// It is where the init has something to do.
    fn is_ours(&self, path: &str) {
        self.leads_to_an_entry(path);
        let ours = ["/newroot/", "/mnt/", "/run/", "/dev/", "/proc/sys/kernel/"];
        let tops = [
            "/newroot",
            "/mnt",
            "/run",
            "/dev",
            "/proc",
            "/sys",
            "/mnt/root-RO",
            "/mnt/root-RW",
        ];
        assert!(
            tops.contains(&path) || ours.iter().any(|top| path.starts_with(top)),
            "{path}"
        );
    }
}

impl System for Watched {
    fn now(&mut self) -> u64 {
        self.0.now()
    }
    fn kernel_release(&mut self) -> String {
        self.0.kernel_release()
    }
    fn mem_total(&mut self) -> u64 {
        self.0.mem_total()
    }
    fn read(&mut self, path: &str, limit: usize) -> Result<Vec<u8>> {
        self.is_plain(path);
        self.0.read(path, limit)
    }
    fn write(&mut self, path: &str, data: &[u8], mode: u32) -> Result<()> {
        self.is_ours(path);
        let lower = self
            .0
            .mounts
            .iter()
            .filter(|m| m.fstype == "ext4" && m.read_only);
        let in_lower = |m: &Mounted| {
            let covers = |top: &str| {
                path.strip_prefix(top)
                    .is_some_and(|rest| rest.starts_with('/'))
            };
            // Unless something else is mounted further down.
            let over = self.0.mounts.iter().any(|other| {
                other.fstype != "ext4"
                    && other.target.len() >= m.target.len()
                    && covers(&other.target)
            });
            covers(&m.target) && !over
        };
        assert!(!lower.clone().any(in_lower), "{path} is in the lower");
        // As the kernel does: a link in the last place is an error.
        if let Some(Node::Link(_)) = self.0.tree.get(path) {
            return Err(Errno::ELOOP);
        }
        self.0.write(path, data, mode)
    }
    fn stat(&mut self, path: &str) -> Result<Stat> {
        self.leads_to_an_entry(path);
        self.0.stat(path)
    }
    fn read_link(&mut self, path: &str) -> Result<String> {
        self.leads_to_an_entry(path);
        self.0.read_link(path)
    }
    fn make_dir(&mut self, path: &str, mode: u32) -> Result<()> {
        self.is_ours(path);
        self.0.make_dir(path, mode)
    }
    fn set_attributes(&mut self, path: &str, stat: &Stat) -> Result<()> {
        self.is_ours(path);
        self.0.set_attributes(path, stat)
    }
    fn set_xattr(&mut self, path: &str, name: &str, value: &[u8]) -> Result<()> {
        self.is_ours(path);
        self.0.set_xattr(path, name, value)
    }
    fn make_node(&mut self, path: &str, block: bool, major: u32, minor: u32) -> Result<()> {
        self.is_ours(path);
        self.0.make_node(path, block, major, minor)
    }
    fn mount(&mut self, mount: &Mount<'_>) -> Result<()> {
        self.is_plain(mount.target);
        self.is_ours(mount.target);
        self.0.mount(mount)
    }
    fn unmount(&mut self, target: &str) -> Result<()> {
        self.is_plain(target);
        self.is_ours(target);
        self.0.unmount(target)
    }
    fn move_mount(&mut self, from: &str, to: &str) -> Result<()> {
        self.is_plain(to);
        self.is_ours(to);
        self.0.move_mount(from, to)
    }
    fn read_block(&mut self, device: &str, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.0.read_block(device, offset, buffer)
    }
    fn block_size(&mut self, device: &str) -> Result<u64> {
        self.0.block_size(device)
    }
    fn sector_size(&mut self, device: &str) -> Result<u32> {
        self.0.sector_size(device)
    }
    fn block_read_only(&mut self, device: &str) -> Result<bool> {
        self.0.block_read_only(device)
    }
    fn set_block_read_only(&mut self, device: &str, read_only: bool) -> Result<()> {
        self.0.set_block_read_only(device, read_only)
    }
    fn device_mapper(&mut self, command: Command, request: &mut [u8]) -> Result<()> {
        self.0.device_mapper(command, request)
    }
    fn load_module(&mut self, path: &str, parameters: &str) -> Result<()> {
        self.is_plain(path);
        self.0.load_module(path, parameters)
    }
    fn listen(&mut self) -> Result<()> {
        self.0.listen()
    }
    fn wait(&mut self, milliseconds: u64) -> Result<bool> {
        self.0.wait(milliseconds)
    }
    fn open_console(&mut self) -> Result<()> {
        self.0.open_console()
    }
    fn open_log(&mut self) -> Result<()> {
        self.0.open_log()
    }
    fn switch_root(&mut self, root: &str) -> Result<()> {
        self.is_plain(root);
        self.is_ours(root);
        self.0.switch_root(root)
    }
    fn exec(&mut self, path: &str) -> Result<()> {
        self.0.exec(path)
    }
    fn reboot(&mut self) -> Result<()> {
        self.0.reboot()
    }
}
