// SPDX-License-Identifier: MIT
//! The layers as they are mounted now.

use std::fs;
use std::path::{Path, PathBuf};

use overlayroot::mountinfo::{self, Mount};

use crate::container;
use crate::error::{Error, Result};

/// The mount table of this process.
const TABLE: &str = "/proc/self/mountinfo";

/// The mounts that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// What is at `/`.
    pub root: Mount,
    /// The layers, when `/` is an overlay.
    pub layers: Option<Layers>,
}

/// The layers of an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    /// The real root.
    pub lower: Mount,
    /// What was changed, a folder of the RAM layer.
    pub upper: PathBuf,
    /// The RAM layer.
    pub ram: Mount,
    /// The marks in the upper are `user.` attributes. Otherwise anybody can set these, and they mean nothing.
    pub user_marks: bool,
}

impl Live {
    /// Looks.
    pub fn look() -> Result<Live> {
        Live::parse(&table()?).ok_or_else(|| Error::Malformed {
            object: TABLE.to_owned(),
            cause: "nothing is mounted at /".to_owned(),
            remedy: "run this in the system itself, not in a chroot",
        })
    }

    /// From the text of `/proc/PID/mountinfo`; `None` when it names no root.
    pub fn parse(table: &str) -> Option<Live> {
        let mounts = mountinfo::parse(table);
        let root = mountinfo::at(&mounts, "/")?.clone();
        let layers = layers(&mounts, &root);
        Some(Live { root, layers })
    }

    /// The layers, or a refusal that says what is missing.
    pub fn layers(&self) -> Result<&Layers> {
        self.layers.as_ref().ok_or_else(|| {
            if let Some(kind) = container::kind() {
                return Error::refused(
                    format!(
                        "this is {kind}: / is not the root of the board but {} ({})",
                        self.root.source, self.root.fstype
                    ),
                    "run it on the board itself",
                );
            }
            Error::refused(
                format!("/ is no overlay but {} ({})", self.root.source, self.root.fstype),
                "boot in protected mode (overlayfs=yes); what is written here now is written to the device itself",
            )
        })
    }
}

/// The text of this process's mount table. Mount points may have names that are no text.
pub fn table() -> Result<String> {
    let table = fs::read(TABLE)
        .map_err(Error::system("read", TABLE))
        .map_err(|e| e.with_remedy("mount /proc"))?;
    Ok(String::from_utf8_lossy(&table).into_owned())
}

fn layers(mounts: &[Mount], root: &Mount) -> Option<Layers> {
    if !root.is_overlay() {
        return None;
    }
    // Several lower layers are not made by our init; the last one is the lowest.
    let lower = root.option("lowerdir")?.rsplit(':').next()?;
    let upper = PathBuf::from(root.option("upperdir")?);
    let lower = mountinfo::at(mounts, lower)?.clone();
    let ram = upper
        .ancestors()
        .find_map(|path| mountinfo::at(mounts, path.to_str()?))?
        .clone();
    // An upper on the overlay itself would be a mistake of ours.
    (ram.target != "/" && lower.target != "/").then_some(Layers {
        lower,
        upper,
        ram,
        user_marks: root.super_options.split(',').any(|o| o == "userxattr"),
    })
}

impl Layers {
    /// Where the real root is mounted.
    pub fn lower_path(&self) -> &Path {
        Path::new(&self.lower.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_a_protected_board() {
        let live = Live::parse(
            "21 1 0:20 / / rw - overlay overlay rw,lowerdir=/mnt/root-RO,upperdir=/mnt/root-RW/upper,workdir=/mnt/root-RW/work\n\
             22 21 179:2 / /mnt/root-RO ro - ext4 /dev/mmcblk3p2 ro\n\
             23 21 0:19 / /mnt/root-RW rw - tmpfs tmpfs rw,size=203480k\n",
        )
        .unwrap();
        let layers = live.layers().unwrap();
        assert_eq!(layers.lower.source, "/dev/mmcblk3p2");
        assert_eq!(layers.ram.target, "/mnt/root-RW");
        assert_eq!(layers.upper, Path::new("/mnt/root-RW/upper"));
    }

    #[test]
    fn no_layers_without_an_overlay() {
        let live = Live::parse("21 1 179:2 / / rw - ext4 /dev/mmcblk3p2 rw\n").unwrap();
        let error = live.layers().unwrap_err();
        assert!(error.to_string().contains("/dev/mmcblk3p2 (ext4)"));
        assert_eq!(Live::parse("nothing"), None);
        // A lower that is not mounted where it is said to be.
        let live = Live::parse("21 1 0:20 / / rw - overlay overlay rw,lowerdir=/a,upperdir=/b/u\n");
        assert_eq!(live.unwrap().layers, None);
    }
}
