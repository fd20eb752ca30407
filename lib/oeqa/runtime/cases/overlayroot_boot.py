#
# SPDX-License-Identifier: MIT
#
"""For `bitbake IMAGE -c testimage`: the root of a booted image is protected, and everything says so.

In local.conf: IMAGE_CLASSES += "testimage" and TEST_SUITES:append = " overlayroot_boot". The tests read what
the init reports and what the kernel says. They need no network: any target of testimage will do.

Not called overlayroot: the layer has a Python package of this name, and testimage loads a case as a module.
"""

import json

from oeqa.core.decorator.depends import OETestDepends
from oeqa.runtime.case import OERuntimeTestCase
from oeqa.runtime.decorator.package import OEHasPackage


class OverlayrootBootTest(OERuntimeTestCase):
    """A system that was booted by overlayroot's init."""

    def output(self, command):
        """Output of a command that must succeed."""
        status, output = self.target.run(command)
        self.assertEqual(status, 0, f"{command}: {output}")
        return output

    def mounts(self):
        """Mount table: mount point -> (source, type, options)."""
        table = {}
        for line in self.output("cat /proc/mounts").splitlines():
            source, target, fstype, options = line.split()[:4]
            table[target] = (source, fstype, options.split(","))
        return table

    def test_root_is_an_overlay(self):
        """`/` is RAM over the read-only root, as /proc/mounts has it."""
        mounts = self.mounts()
        _, fstype, options = mounts["/"]
        self.assertIn(fstype, ("overlay", "overlayfs"))
        self.assertIn("lowerdir=/mnt/root-RO", options)
        self.assertIn("upperdir=/mnt/root-RW/upper", options)
        self.assertIn("ro", mounts["/mnt/root-RO"][2])
        self.assertEqual(mounts["/mnt/root-RW"][1], "tmpfs")

    @OETestDepends(["overlayroot_boot.OverlayrootBootTest.test_root_is_an_overlay"])
    def test_report(self):
        """The init's own report agrees, and had nothing to complain about."""
        report = json.loads(self.output("cat /mnt/root-RW/report.json"))
        self.assertEqual((report["wanted"], report["reached"], report["protected"]), ("ram", "ram", True))
        self.assertEqual(report["failures"], [])
        self.assertEqual(report["warnings"], [])

    @OETestDepends(["overlayroot_boot.OverlayrootBootTest.test_root_is_an_overlay"])
    def test_fstab_is_a_copy_in_ram(self):
        """The copy says what it is; the original on the lower is as it was built."""
        self.assertTrue(
            self.output("cat /etc/fstab").startswith("# overlayroot: this copy of /etc/fstab lives in RAM.")
        )
        self.assertNotIn("overlayroot: this copy", self.output("cat /mnt/root-RO/etc/fstab"))

    @OETestDepends(["overlayroot_boot.OverlayrootBootTest.test_root_is_an_overlay"])
    def test_lower_cannot_be_written(self):
        """A write to the lower is refused as long as nobody has opened it."""
        status, output = self.target.run("touch /mnt/root-RO/overlayroot-test")
        self.assertNotEqual(status, 0)
        self.assertIn("Read-only file system", output)

    @OETestDepends(["overlayroot_boot.OverlayrootBootTest.test_root_is_an_overlay"])
    @OEHasPackage(["overlayrootctl"])
    def test_overlayrootctl_agrees(self):
        """`overlayrootctl status --check` finds the system protected."""
        # Shells that are no login of root's do not look there.
        self.output(f"{self.td['sbindir']}/overlayrootctl status --check")

    @OETestDepends(["overlayroot_boot.OverlayrootBootTest.test_lower_cannot_be_written"])
    def test_nothing_was_written(self):
        """The block layer counts no write to the root's device since the boot."""
        device = json.loads(self.output("cat /mnt/root-RW/report.json"))["root"]
        self.output("echo x >/etc/overlayroot-test && sync && test -s /etc/overlayroot-test")
        counters = self.output(f"cat /sys/dev/block/{device['major']}:{device['minor']}/stat").split()
        self.assertEqual(int(counters[4]), 0, "writes completed (Documentation/block/stat.rst)")
