// SPDX-License-Identifier: MIT
//! Paths inside a root that is not ours yet: symbolic links there are relative to that root, and must not
//! lead out of it. (`openat2` would do; 3.10 kernels lack it.)

use alloc::borrow::ToOwned;
use alloc::string::String;

use overlayroot::errno::Errno;
use overlayroot::text;

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
    // What was walked, and what is still to walk.
    let mut here = root.to_owned();
    let mut rest = path.to_owned();
    let mut links = 0;
    let mut last = None;
    while let Some((part, after)) = next(&rest) {
        let parent = here.len();
        last = None;
        if part == ".." {
            // At the top, `..` is the top.
            let top = here.get(root.len()..).unwrap_or_default();
            let up = top.bytes().rposition(|byte| byte == b'/');
            here.truncate(root.len() + up.unwrap_or(0));
            rest = after.to_owned();
            continue;
        }
        here.push('/');
        here.push_str(part);
        match sys.stat(&here) {
            Ok(stat) if stat.kind == Kind::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP);
                }
                let target = sys.read_link(&here)?;
                let from = if target.starts_with('/') {
                    root.len()
                } else {
                    parent
                };
                here.truncate(from);
                rest = text!("{}/{}", target, after);
                continue;
            }
            Ok(stat) if stat.kind != Kind::Directory && next(after).is_some() => {
                return Err(Errno::ENOTDIR);
            }
            Ok(stat) => last = Some(stat),
            Err(Errno::ENOENT) if missing == Missing::MakeDir => sys.make_dir(&here, 0o755)?,
            Err(Errno::ENOENT) if missing == Missing::LastMayBe && next(after).is_none() => {}
            Err(error) => return Err(error),
        }
        rest = after.to_owned();
    }
    if here.len() == root.len() && missing == Missing::MakeDir {
        return Err(Errno::EBUSY);
    }
    Ok((here, last))
}

/// The first component that is neither empty nor `.`, and what comes after it.
#[inline(never)]
fn next(path: &str) -> Option<(&str, &str)> {
    let mut rest = path;
    while !rest.is_empty() {
        let end = rest.bytes().position(|byte| byte == b'/');
        let end = end.unwrap_or(rest.len());
        let part = rest.get(..end).unwrap_or_default();
        rest = rest.get(end + 1..).unwrap_or_default();
        if !part.is_empty() && part != "." {
            return Some((part, rest));
        }
    }
    None
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
