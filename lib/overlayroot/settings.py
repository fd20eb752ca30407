# SPDX-License-Identifier: MIT
"""The init's settings as the build knows them: OVERLAYROOT_SIZE is `size` in overlayroot.conf is `ofs-size=`.

What is accepted is what the init accepts (docs/parameters.md): a bad value must fail the build, not be
reported on the console of a board.
"""

import re
from collections.abc import Callable

YES = {"yes", "on", "1", "y", "true"}
NO = {"no", "off", "0", "n", "false"}


def _choice(*words: str) -> Callable:
    return lambda value: value in words


def _seconds(least: int) -> Callable:
    return lambda value: value.isascii() and value.isdigit() and least <= int(value) <= 3600


def _size(value: str) -> bool:
    amount, comma, inodes = value.partition(",")
    if comma and not re.fullmatch(r"[1-9][0-9]*[KkMmGg]?", inodes):
        return False
    if percent := re.fullmatch(r"([0-9]+)%?", amount):
        return 1 <= int(percent[1]) <= 100
    return re.fullmatch(r"[1-9][0-9]*[KkMmGg]", amount) is not None


# Variable of the build, key in overlayroot.conf, what is accepted, the same in words.
SETTINGS = [
    ("OVERLAYROOT_OVERLAYFS", "overlayfs", lambda value: value in YES | NO, "yes, no"),
    ("OVERLAYROOT_SIZE", "size", _size, "20, 20%, 64M, 1G, 64M,20000"),
    ("OVERLAYROOT_DIRTY", "dirty", _choice("replay", "frozen", "refuse"), "replay, frozen, refuse"),
    ("OVERLAYROOT_FAIL", "fail", _choice("ladder", "reboot"), "ladder, reboot"),
    ("OVERLAYROOT_LOCK", "lock", lambda value: value in YES | NO, "yes, no"),
    ("OVERLAYROOT_VERITY_ERROR", "verity-error", _choice("eio", "restart", "panic"), "eio, restart, panic"),
    ("OVERLAYROOT_WAIT", "wait", _seconds(1), "seconds, 1 to 3600"),
    ("OVERLAYROOT_REBOOT_DELAY", "reboot-delay", _seconds(0), "seconds, 0 to 3600"),
]


class BadSettingError(ValueError):
    """A value that the init would refuse; the message names the variable and what is accepted."""


def configuration(values: dict) -> str:
    """The text of overlayroot.conf. `values` has every variable of SETTINGS.

    Raises:
        BadSettingError: for the first value that the init would refuse.
    """
    lines = ["# Defaults that this image was built with; the kernel command line wins."]
    for variable, key, accepts, accepted in SETTINGS:
        value = values[variable].strip()
        if not accepts(value):
            raise BadSettingError(f'{variable} = "{value}" cannot be used; accepted: {accepted}')
        lines.append(f"{key}={value}")
    return "\n".join(lines) + "\n"


def conf_text(d) -> str:
    """The same from BitBake's datastore; a bad value ends the build."""
    import bb

    try:
        return configuration({name: d.getVar(name) or "" for name, *_ in SETTINGS})
    except BadSettingError as error:
        bb.fatal(str(error))
