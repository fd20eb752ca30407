// SPDX-License-Identifier: MIT
//! Paths inside a root that is not ours yet: symbolic links there are relative to that root, and must not
//! lead out of it. (`openat2` would do; 3.10 kernels lack it.)

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use overlayroot::errno::Errno;

use crate::system::{Kind, Result, Stat, System};

/// As many links as the kernel follows (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// What to do with a component that does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// An error, `ENOENT`.
    Fail,
    /// Make a directory. What is asked for is a mount point: the root itself is none, as what is mounted there
    /// would take its place.
    MakeDir,
    /// The last component may be missing; one before it is an error.
    LastMayBe,
}

/// The place in the initramfs's view of `path` in the system below `root`, all links followed, and what is there; nothing
/// where that was missing, or is `root` itself.
pub fn resolve(
    sys: &mut impl System,
    root: &str,
    path: &str,
    missing: Missing,
) -> Result<(String, Option<Stat>)> {
    // Components still to walk, the next one last.
    let mut todo: Vec<String> = components(path);
    let mut done: Vec<String> = Vec::new();
    let mut links = 0;
    let mut last = None;
    while let Some(part) = todo.pop() {
        if part == ".." {
            done.pop(); // at the top, `..` is the top
            last = None;
            continue;
        }
        done.push(part);
        let here = join(root, &done);
        last = None;
        match sys.stat(&here) {
            Ok(stat) if stat.kind == Kind::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP);
                }
                let target = sys.read_link(&here)?;
                done.pop();
                if target.starts_with('/') {
                    done.clear();
                }
                todo.extend(components(&target));
            }
            Ok(stat) if !todo.is_empty() && stat.kind != Kind::Directory => {
                return Err(Errno::ENOTDIR);
            }
            Ok(stat) => last = Some(stat),
            Err(Errno::ENOENT) if missing == Missing::MakeDir => sys.make_dir(&here, 0o755)?,
            Err(Errno::ENOENT) if missing == Missing::LastMayBe && todo.is_empty() => {}
            Err(error) => return Err(error),
        }
    }
    if done.is_empty() && missing == Missing::MakeDir {
        return Err(Errno::EBUSY);
    }
    Ok((join(root, &done), last))
}

/// Components in reverse, without empty ones and `.`.
fn components(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in path.split('/') {
        if !part.is_empty() && part != "." {
            parts.push(part.to_owned());
        }
    }
    parts.reverse();
    parts
}

fn join(root: &str, parts: &[String]) -> String {
    let mut path = root.to_owned();
    for part in parts {
        path.push('/');
        path.push_str(part);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    fn board() -> Fake {
        let mut fake = Fake::default();
        fake.dirs(&[
            "/newroot",
            "/newroot/usr",
            "/newroot/usr/sbin",
            "/newroot/etc",
        ]);
        fake.file("/newroot/usr/sbin/init", b"x", 0o755);
        fake.link("/newroot/sbin", "usr/sbin");
        fake.link("/newroot/abs", "/usr/sbin");
        fake.link("/newroot/up", "../../../etc");
        fake.link("/newroot/a", "b");
        fake.link("/newroot/b", "/a");
        fake
    }

    #[test]
    fn links_stay_inside() {
        let mut fake = board();
        let mut at = |path: &str| Ok(resolve(&mut fake, "/newroot", path, Missing::Fail)?.0);
        assert_eq!(at("/sbin/init").unwrap(), "/newroot/usr/sbin/init");
        assert_eq!(at("/abs/./init").unwrap(), "/newroot/usr/sbin/init");
        assert_eq!(at("/up").unwrap(), "/newroot/etc");
        assert_eq!(at("/../../etc").unwrap(), "/newroot/etc");
        assert_eq!(at("/a"), Err(Errno::ELOOP));
        assert_eq!(at("/sbin/init/x"), Err(Errno::ENOTDIR));
        assert_eq!(at("/none"), Err(Errno::ENOENT));
        assert_eq!(at("/").unwrap(), "/newroot");
    }

    #[test]
    fn missing_parts() {
        let mut fake = board();
        assert_eq!(
            resolve(&mut fake, "/newroot", "/etc/fstab", Missing::LastMayBe)
                .unwrap()
                .0,
            "/newroot/etc/fstab"
        );
        assert_eq!(
            resolve(&mut fake, "/newroot", "/x/fstab", Missing::LastMayBe),
            Err(Errno::ENOENT)
        );
        assert_eq!(
            resolve(&mut fake, "/newroot", "/mnt/root-RO", Missing::MakeDir)
                .unwrap()
                .0,
            "/newroot/mnt/root-RO"
        );
        assert_eq!(
            fake.stat("/newroot/mnt/root-RO").unwrap().kind,
            Kind::Directory
        );
        fake.link("/newroot/top", "/etc/..");
        assert_eq!(
            resolve(&mut fake, "/newroot", "/top", Missing::MakeDir),
            Err(Errno::EBUSY)
        );
    }
}
