# SPDX-License-Identifier: MIT
"""One writable boot that uses itself up, and the plug pulled at each write of U-Boot's environment.

The second test replays what the first one has recorded: run the whole file.
"""

import itertools
import pathlib

import pytest
from conftest import System, assert_protected, assert_writable, boot_without_environment
from emulator import ENV_AREA, ENV_SIZE
from labgrid_board import BoardStrategy, Status
from uboot_environment import BadEnvironmentError, pack, unpack
from writelog import prefixes, writes

pytestmark = pytest.mark.usefixtures("bare")

# What U-Boot itself sets while it boots: saveenv saves it with the rest, and no boot depends on it.
TRANSIENT = {"bootfstype", "devplist", "fdtcontroladdr", "fileaddr", "filesize", "reset_cause"}


class Recording:
    """The flash before the first test, and the log of what was written to it since."""

    before = b""
    log: pathlib.Path


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Filled in by the first test."""
    recording = Recording()
    recording.log = tmp_path_factory.mktemp("flash") / "log"
    return recording


def lasting(environment: dict[str, str]) -> dict[str, str]:
    """An environment without what U-Boot sets anew at each boot, and without empty variables (`preboot=`).

    U-Boot may save these, libubootenv does not.
    """
    return {name: value for name, value in environment.items() if value and name not in TRANSIENT}


@pytest.mark.lg_feature("card")
def test_request_is_used_up(board: BoardStrategy, system: System, recording: Recording) -> None:
    board.transition(Status.off)
    emulated = board.emulated
    environment = lasting(emulated.environment())
    recording.before = emulated.flash.read_bytes()
    with emulated.recorded("flash", recording.log):
        board.transition(Status.shell)
        assert_protected(system, "20")
        system.need_flash()
        said = system.run("overlayrootctl disable --once")
        assert "overlayfs_once=no" in said
        assert "The next boot is writable; the ones after it protect the root again" in said
        board.reboot()
        assert_writable(system)
        system.run("echo once > /etc/once; sync")
        board.cut_power()
    assert lasting(emulated.environment()) == environment
    board.transition(Status.shell)
    assert_protected(system, "20")
    assert system.run("cat /etc/once") == "once"
    assert system.report()["root"]["state"] == "dirty"


def kind(flash: bytes, plain: dict[str, str]) -> str:
    """What U-Boot will find in a flash image: the environment, it with the request, or a wrong checksum."""
    try:
        found = lasting(unpack(flash[ENV_AREA]))
    except BadEnvironmentError:
        return "torn"
    if found == plain:
        return "plain"
    assert found == plain | {"overlayfs_once": "no"}
    return "requested"


@pytest.mark.lg_feature("card")
def test_cut_at_each_write(
    board: BoardStrategy, system: System, recording: Recording, tmp_path: pathlib.Path
) -> None:
    """First overlayrootctl on Linux writes the request, then saveenv in the boot script uses it up."""
    assert recording.before, "test_request_is_used_up has to run first"
    board.transition(Status.off)
    requests = writes(recording.log)
    plain = lasting(unpack(recording.before[ENV_AREA]))
    # Each state of the flash once. All but the environment stays as it is.
    states: list[tuple[str, bytes]] = []
    known: set[bytes] = set()
    for flash in prefixes(recording.before, requests):
        assert flash[: ENV_AREA.start] == recording.before[: ENV_AREA.start]
        assert flash[ENV_AREA.stop :] == recording.before[ENV_AREA.stop :]
        if (block := bytes(flash[ENV_AREA])) not in known:
            known.add(block)
            states.append((kind(flash, plain), block))
    assert len(states) > 100
    # Only in the middle, when the request is in the flash as a whole, is there a writable boot.
    story = [name for name, _ in itertools.groupby(states, key=lambda state: state[0])]
    assert story == ["plain", "torn", "requested", "torn", "plain"]

    # U-Boot's own opinion of the states at which the story turns, and of some between.
    turns = [i for i in range(1, len(states)) if states[i][0] != states[i - 1][0]]
    chosen = {0, len(states) - 1, *range(0, len(states), len(states) // 16)}
    chosen.update(*((turn - 1, turn) for turn in turns))
    image = tmp_path / "flash.img"
    for index in sorted(chosen):
        name, block = states[index]
        image.write_bytes(recording.before[: ENV_AREA.start] + block + recording.before[ENV_AREA.stop :])
        assert board.emulated.judge_flash(image) == (name != "torn"), f"state {index}, {name}"

    # And a whole boot from the middle of the script's saveenv: there is no environment, and it protects.
    index = (turns[2] + turns[3]) // 2
    assert states[index][0] == "torn"
    saved = board.emulated.flash.read_bytes()
    board.emulated.flash.write_bytes(saved[: ENV_AREA.start] + states[index][1] + saved[ENV_AREA.stop :])
    try:
        boot_without_environment(board)
        assert_protected(system, "20")
    finally:
        board.cut_power()
        board.emulated.flash.write_bytes(saved)


@pytest.mark.lg_feature("card")
def test_request_that_cannot_be_saved(board: BoardStrategy, system: System) -> None:
    """An environment that is full: with what U-Boot adds at a boot it does not fit any more."""
    board.transition(Status.off)
    requested = board.emulated.environment() | {"overlayfs_once": "no", "filler": "x"}
    for name in TRANSIENT:
        requested.pop(name, None)
    used = len(pack(requested, ENV_SIZE).rstrip(b"\0"))
    saved = board.emulated.flash.read_bytes()
    board.emulated.set_environment(
        overlayfs_once="no", filler="x" * (ENV_SIZE - used - 2), **dict.fromkeys(TRANSIENT, "")
    )
    try:
        board.transition(Status.shell)
        assert_protected(system, "20")
        said = board.emulated.card.with_name("console.log").read_text(errors="replace")
        assert "overlayroot: ERROR: the environment cannot be saved: no writable boot" in said
        board.cut_power()
        assert board.emulated.environment()["overlayfs_once"] == "no"
    finally:
        board.cut_power()
        board.emulated.flash.write_bytes(saved)
