// SPDX-License-Identifier: MIT
//! Reports: any JSON is survived; what the init writes is read as it was meant; and a report never makes an
//! open root look protected.

use overlayroot::cmdline::words;
use overlayroot::config;
use overlayroot::errno::Errno;
use overlayroot::facts::Facts;
use overlayroot::report::{Report, RootReport};
use overlayroot::settings::Settings;
use overlayroot::superblock::State;
use overlayrootctl::bootreport::BootReport;
use overlayrootctl::live::Live;
use overlayrootctl::rootlock::User;
use overlayrootctl::verdict::{judge, Level};

use crate::input::Input;

const OPEN: [&str; 3] = [
    "21 1 179:2 / / rw - ext4 /dev/mmcblk0p2 rw\n",
    "21 1 179:2 / / ro - ext4 /dev/mmcblk0p2 rw\n",
    "21 1 0:20 / / rw - overlay overlay rw,lowerdir=/mnt/root-RO,upperdir=/mnt/root-RW/upper\n\
     22 21 179:2 / /mnt/root-RO ro - ext4 /dev/mmcblk0p2 rw\n\
     23 21 0:19 / /mnt/root-RW rw - tmpfs tmpfs rw\n",
];

/// One input: a byte; then JSON (even), or what a report is made of (odd).
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    if input.byte() & 1 == 0 {
        if let Ok(report) = BootReport::parse(input.0) {
            assert_eq!(report.version, 1);
            check(&report);
        }
        return;
    }
    let (entries, _) = config::parse(input.piece());
    let settings = Settings::merge(&entries, &words(input.piece()));
    let (text, step) = (input.text(), input.text());
    let mut report = Report {
        version: Report::VERSION,
        program: text.clone(),
        reached: "read-only",
        ..Report::default()
    };
    report.set_settings(&settings);
    report.warnings = vec![text.clone(); 2];
    report.step(step, 1, Err(Errno::EIO));
    let mut facts = Facts::default().with_root(&text, "ext4", State::Clean);
    if let Some(root) = &mut facts.root {
        root.label = Some(text.clone());
    }
    report.root = facts
        .root
        .as_ref()
        .map(|root| RootReport::new(text.clone(), root));
    let read = BootReport::parse(&report.to_json()).expect("our own report");
    assert_eq!(read.warnings, report.warnings);
    assert_eq!(
        read.root.as_ref().map(|r| r.device.clone()),
        Some(format!("/dev/{text}"))
    );
    for (said, setting) in settings.said.iter().zip(&read.settings) {
        let origin = said.origin.as_str();
        assert_eq!(
            (said.name, &*said.value, origin),
            (&*setting.name, &*setting.value, &*setting.origin)
        );
    }
    assert_eq!(read.settings.len(), settings.said.len());
    check(&read);
}

fn check(report: &BootReport) {
    for table in OPEN {
        let live = Live::parse(table).expect("a root");
        assert!(judge(&live, Some(report), &User::Nobody).level > Level::Ok);
    }
}
