# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# For /etc/profile.d: one line about the root file system for who logs in at a terminal.
if [ -t 1 ] && command -v overlayrootctl >/dev/null; then
    overlayrootctl status --motd
fi
