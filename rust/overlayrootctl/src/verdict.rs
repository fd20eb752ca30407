// SPDX-License-Identifier: MIT
//! Is this board protected? From what the init reported and from what is mounted now; pure.

use std::time::Duration;

use serde::Serialize;

use crate::bootreport::BootReport;
use crate::live::Live;
use crate::rootlock::User;

/// What the root is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// RAM over the real root, which is read-only.
    Protected,
    /// RAM over the real root, which is open for writing at the moment.
    Open,
    /// The real root itself, read-only.
    ReadOnly,
    /// The real root itself, writable.
    Writable,
}

/// How much it matters, in the words of monitoring; the numbers are their exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok = 0,
    /// To look at.
    Warning = 1,
    /// A board that should be protected is not.
    Critical = 2,
    /// It cannot be known what should be.
    Unknown = 3,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What the root is now.
    pub state: State,
    /// How much it matters.
    pub level: Level,
    /// Why, in a line.
    pub reason: String,
    /// Where the report of the init and the mounts of now say different things, with the remedy.
    pub disagreements: Vec<String>,
}

/// For how long a program of ours may have the real root open before it is worth a warning.
const LONG: Duration = Duration::from_secs(3600);

/// Deleting fails with `EOPNOTSUPP` on old kernels; on newer ones what was in a directory comes back with its name.
const NO_ATTRIBUTES: &str =
    "; the RAM layer cannot hold that a file was deleted: enable CONFIG_TMPFS_XATTR in the kernel";

/// Whether the real root is open because a program of ours is at work.
fn is_at_work(user: &User) -> bool {
    matches!(user, User::Running { since, .. } if since.unwrap_or_default() <= LONG)
}

/// Judges; `user` is who has the real root open.
pub fn judge(live: &Live, report: Option<&BootReport>, user: &User) -> Verdict {
    let state = state(live);
    let mut verdict = Verdict {
        state,
        level: Level::Unknown,
        reason: format!(
            "{}; no report of the init was found",
            is_now(state, live, user)
        ),
        disagreements: Vec::new(),
    };
    let Some(report) = report else {
        if state == State::Protected {
            // The layers are there, whoever stacked them.
            verdict.level = Level::Warning;
        }
        return verdict;
    };
    let said = match (&*report.reached, report.protected) {
        ("ram", _) => State::Protected,
        ("read-only", _) => State::ReadOnly,
        _ => State::Writable,
    };
    let wanted_writable = report.wanted == "writable";
    verdict.reason = format!("{}; {}", is_now(state, live, user), why(report, said));
    verdict.level = match state {
        State::Protected => Level::Ok,
        State::Open if is_at_work(user) => Level::Ok,
        State::Open => Level::Warning,
        State::Writable if wanted_writable => Level::Warning,
        State::ReadOnly if wanted_writable => Level::Warning,
        State::ReadOnly | State::Writable => Level::Critical,
    };
    if live.layers.is_some() && report.upper.as_ref().and_then(|u| u.xattr) == Some(false) {
        verdict.level = verdict.level.max(Level::Warning);
        verdict.reason += NO_ATTRIBUTES;
    }
    verdict.disagreements = disagreements(live, report, state, said, user);
    if !verdict.disagreements.is_empty() {
        verdict.level = verdict.level.max(Level::Warning);
    }
    verdict
}

fn state(live: &Live) -> State {
    match &live.layers {
        Some(layers) if layers.lower.is_file_system_read_only() => State::Protected,
        Some(_) => State::Open,
        None if live.root.is_file_system_read_only() => State::ReadOnly,
        None => State::Writable,
    }
}

fn is_now(state: State, live: &Live, user: &User) -> String {
    let device = |m: &overlayroot::mountinfo::Mount| format!("{} ({})", m.source, m.fstype);
    match (state, &live.layers) {
        (State::Protected, Some(layers)) => {
            format!("/ is RAM over read-only {}", device(&layers.lower))
        }
        (State::Open, Some(layers)) => {
            let (device, by) = (device(&layers.lower), by(user));
            format!("/ is RAM over {device}, which {by}")
        }
        (State::ReadOnly, _) => format!("/ is the plain root, read-only, {}", device(&live.root)),
        _ => format!("/ is the plain root, WRITABLE, {}", device(&live.root)),
    }
}

/// Who has the real root open.
fn by(user: &User) -> String {
    match user {
        User::Nobody => "is open for writing".to_owned(),
        User::Left { who } => {
            format!("overlayrootctl {who} left open for writing: it was killed")
        }
        User::Running { who, since } => match since.filter(|since| *since > LONG) {
            Some(since) => format!(
                "overlayrootctl {who} has had open for writing for {} hours: end it, or leave its shell",
                since.as_secs() / 3600
            ),
            None => format!("overlayrootctl {who} has open for writing"),
        },
    }
}

fn why(report: &BootReport, said: State) -> String {
    let asked = || match report.setting("overlayfs") {
        Some(s) => format!("overlayfs={} from the {}", s.value, s.origin),
        None => "as asked for".to_owned(),
    };
    match (said, report.failures.last()) {
        (State::ReadOnly, Some(failure)) => format!("degraded: {}", failure.error),
        _ => asked(),
    }
}

fn disagreements(
    live: &Live,
    report: &BootReport,
    state: State,
    said: State,
    user: &User,
) -> Vec<String> {
    let mut list = Vec::new();
    match (said, state, user) {
        (State::Protected, State::Open, User::Nobody) => {
            let lower = live.layers.as_ref().map_or("", |l| &l.lower.target);
            list.push(format!(
                "booted protected, but the real root is open for writing now: mount -o remount,ro {lower}"
            ));
        }
        (State::Protected, State::Open, User::Left { .. }) => list.push(
            "the real root was left open: overlayrootctl edit -- /bin/true makes it read-only again, \
             and so does the watch service"
                .to_owned(),
        ),
        (State::Protected, State::ReadOnly | State::Writable, _) => list.push(
            "booted protected, but / is no overlay here: is this a chroot or a container?"
                .to_owned(),
        ),
        (State::ReadOnly, State::Writable, _) => list.push(
            "booted with a read-only root, but it is writable now: mount -o remount,ro /"
                .to_owned(),
        ),
        // A writable boot may be made read-only by hand, and reports are not written by other systems.
        _ => {}
    }
    let now = live.layers.as_ref().map_or(&live.root, |l| &l.lower);
    if let Some(root) = &report.root {
        let verified = root.verity.as_ref().map(|v| (v.major, v.minor));
        let booted = verified.unwrap_or((root.major, root.minor));
        // btrfs mounts have numbers of their own, major 0.
        if now.major != 0 && booted != (now.major, now.minor) {
            list.push(format!(
                "the init mounted {} ({}:{}), but the root is on {} ({}:{}) now: reboot",
                root.device, booted.0, booted.1, now.source, now.major, now.minor
            ));
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootreport::{Failure, Root, Setting, Upper};

    const OVERLAY: &str =
        "21 1 0:20 / / rw - overlay overlay rw,lowerdir=/mnt/root-RO,upperdir=/mnt/root-RW/upper\n\
        23 21 0:19 / /mnt/root-RW rw - tmpfs tmpfs rw\n";

    fn protected(lower: &str) -> Live {
        let line = format!("22 21 179:2 / /mnt/root-RO ro - ext4 /dev/mmcblk3p2 {lower}\n");
        Live::parse(&format!("{OVERLAY}{line}")).unwrap()
    }

    fn plain(options: &str) -> Live {
        Live::parse(&format!(
            "21 1 179:2 / / {options} - ext4 /dev/mmcblk3p2 {options}"
        ))
        .unwrap()
    }

    fn report(wanted: &str, reached: &str) -> BootReport {
        BootReport {
            version: 1,
            wanted: wanted.into(),
            reached: reached.into(),
            protected: reached != "writable",
            root: Some(Root {
                device: "/dev/mmcblk3p2".into(),
                major: 179,
                minor: 2,
                ..Root::default()
            }),
            settings: vec![Setting {
                name: "overlayfs".into(),
                value: "no".into(),
                origin: "command line".into(),
            }],
            failures: vec![Failure {
                mode: "ram".into(),
                error: "ENODEV".into(),
            }],
            ..BootReport::default()
        }
    }

    #[test]
    fn protected_and_agreed() {
        let verdict = judge(&protected("ro"), Some(&report("ram", "ram")), &User::Nobody);
        assert_eq!(
            (verdict.state, verdict.level),
            (State::Protected, Level::Ok)
        );
        assert_eq!(verdict.disagreements, [""; 0]);
        assert!(verdict
            .reason
            .starts_with("/ is RAM over read-only /dev/mmcblk3p2 (ext4); "));
    }

    #[test]
    fn a_layer_that_cannot_hold_what_was_deleted_is_worth_a_warning() {
        let with = |xattr| BootReport {
            upper: Some(Upper { xattr }),
            ..report("ram", "ram")
        };
        let level = |xattr| judge(&protected("ro"), Some(&with(xattr)), &User::Nobody).level;
        assert_eq!(level(None), Level::Ok); // an init that did not look
        assert_eq!(level(Some(true)), Level::Ok);
        assert_eq!(level(Some(false)), Level::Warning);
        let plain = judge(&plain("ro"), Some(&with(Some(false))), &User::Nobody);
        assert!(!plain.reason.contains("CONFIG_TMPFS_XATTR"));
    }

    #[test]
    fn report_and_mounts_disagree() {
        let ram = report("ram", "ram");
        let open = judge(&protected("rw"), Some(&ram), &User::Nobody);
        assert_eq!((open.state, open.level), (State::Open, Level::Warning));
        assert!(open.disagreements[0].ends_with("mount -o remount,ro /mnt/root-RO"));
        let lost = judge(&plain("rw"), Some(&ram), &User::Nobody);
        assert_eq!((lost.state, lost.level), (State::Writable, Level::Critical));
        assert_eq!(lost.disagreements.len(), 1);
        let degraded = judge(
            &plain("rw"),
            Some(&report("ram", "read-only")),
            &User::Nobody,
        );
        assert_eq!(degraded.level, Level::Critical);
        assert!(degraded.disagreements[0].contains("it is writable now"));
        let mut other = report("ram", "ram");
        other.root.as_mut().unwrap().minor = 1;
        let other = judge(&protected("ro"), Some(&other), &User::Nobody);
        assert_eq!(other.level, Level::Warning);
        assert!(other.disagreements[0].contains("(179:1), but the root is on"));
    }

    #[test]
    fn our_own_work_is_no_alarm() {
        let now = |user: User| judge(&protected("rw"), Some(&report("ram", "ram")), &user);
        let who = "edit (process 712)".to_owned();
        let running = |minutes: u64| User::Running {
            who: who.clone(),
            since: Some(Duration::from_secs(minutes * 60)),
        };
        let open = now(running(59));
        assert_eq!((open.state, open.level), (State::Open, Level::Ok));
        assert_eq!(open.disagreements, [""; 0]);
        assert!(open
            .reason
            .starts_with("/ is RAM over /dev/mmcblk3p2 (ext4), which overlayrootctl edit (process 712) has open for writing; "));
        let long = now(running(125));
        assert_eq!(long.level, Level::Warning);
        assert!(
            long.reason.contains("for 2 hours: end it"),
            "{}",
            long.reason
        );
        let left = now(User::Left { who: who.clone() });
        assert_eq!(left.level, Level::Warning);
        assert!(left.reason.contains("edit (process 712) left open"));
        assert!(left.disagreements[0].contains("overlayrootctl edit -- /bin/true"));
        // It says nothing about a board that is protected.
        let closed = judge(&protected("ro"), Some(&report("ram", "ram")), &running(1));
        assert!(!closed.reason.contains("712"));
    }

    #[test]
    fn not_protected() {
        let asked = judge(
            &plain("rw"),
            Some(&report("writable", "writable")),
            &User::Nobody,
        );
        assert_eq!(
            (asked.state, asked.level),
            (State::Writable, Level::Warning)
        );
        assert!(asked.reason.ends_with("overlayfs=no from the command line"));
        let degraded = judge(
            &plain("ro"),
            Some(&report("ram", "read-only")),
            &User::Nobody,
        );
        assert_eq!(
            (degraded.state, degraded.level),
            (State::ReadOnly, Level::Critical)
        );
        assert!(degraded.reason.ends_with("degraded: ENODEV"));
        assert_eq!(degraded.disagreements, [""; 0]);
    }

    #[test]
    fn without_a_report() {
        assert_eq!(
            judge(&plain("rw"), None, &User::Nobody).level,
            Level::Unknown
        );
        assert_eq!(
            judge(&protected("ro"), None, &User::Nobody).level,
            Level::Warning
        );
    }
}
