# SPDX-License-Identifier: MIT
"""Runs a Python program so that Ctrl-C ends it with one line, not a traceback: interruptible.py PROGRAM ...

What the program holds (emulators, folders) it lets go of in its `finally` clauses. Exit status then: 130.
"""

import runpy
import signal
import sys


def main() -> None:
    """Command line."""
    del sys.argv[0]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except KeyboardInterrupt:
        # Whoever presses it again is not interested in Python either.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
