# SPDX-License-Identifier: MIT
"""A board's shell behind a socket, for tests that BitBake runs: testimage/oeqa/controllers/console.py."""

import contextlib
import json
import pathlib
import socketserver
import threading
from collections.abc import Iterator

from labgrid.driver import ShellDriver


@contextlib.contextmanager
def served(shell: ShellDriver, path: pathlib.Path) -> Iterator[None]:
    """While this lasts, a line of JSON with a command is answered by one with its status and output."""

    class Request(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            request = json.loads(self.rfile.readline())
            output, _, status = shell.run(request["command"], timeout=request["timeout"] or 300)
            answer = {"status": status, "output": "\n".join(output)}
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    path.unlink(missing_ok=True)
    with socketserver.UnixStreamServer(str(path), Request) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
