# SPDX-License-Identifier: MIT
"""TEST_TARGET = "ConsoleTarget": commands of testimage go to the board that a test outside of BitBake holds.

TEST_SERIALCONTROL_CMD names the socket of that test (console.py of tests/openembedded).
"""

import json
import socket

from oeqa.core.target import OETarget


class ConsoleTarget(OETarget):
    """A board that is up already, with a root shell on its console."""

    def __init__(self, logger, target_ip, server_ip, serialcontrol_cmd=None, **unused):
        """As testimage calls it, for whatever kind of target."""
        super().__init__(logger)
        self.socket = serialcontrol_cmd

    def start(self, **unused):
        """It runs."""

    def stop(self, **unused):
        """Whoever started it stops it."""

    def run(self, cmd, timeout=None, **unused):
        """Exit status and output of a command on the board."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.socket)
            with connection.makefile("rw") as stream:
                stream.write(json.dumps({"command": cmd, "timeout": timeout}) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
        self.logger.debug("[%s] %s\n%s", answer["status"], cmd, answer["output"])
        return answer["status"], answer["output"]
