// SPDX-License-Identifier: MIT
//! Kernel uevents (`lib/kobject_uevent.c`): NUL-separated `KEY=value` text in a netlink datagram.

/// Whether the datagram tells of a block device that came or changed, so that looking again may pay.
pub fn concerns_block(datagram: &[u8]) -> bool {
    let has = |wanted: &[u8]| datagram.split(|&b| b == 0).any(|field| field == wanted);
    has(b"SUBSYSTEM=block") && !has(b"ACTION=remove")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_block_devices_that_come() {
        assert!(concerns_block(
            b"add@/devices/x\0ACTION=add\0SUBSYSTEM=block\0DEVNAME=sda\0"
        ));
        assert!(concerns_block(b"change@/x\0ACTION=change\0SUBSYSTEM=block"));
        assert!(!concerns_block(
            b"remove@/x\0ACTION=remove\0SUBSYSTEM=block\0"
        ));
        assert!(!concerns_block(
            b"add@/x\0ACTION=add\0SUBSYSTEM=tty\0X=SUBSYSTEM=block\0"
        ));
        assert!(!concerns_block(b""));
    }
}
