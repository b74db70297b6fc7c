"""The last round of a monitor, as a file beside its state: for people, not for the next run.

Only what the monitor told is in it, which proves nothing. The state beside it is a checkpoint,
which the log has signed.
"""

import json
from pathlib import Path
from typing import Final

import msgspec

from muniment.errors import FormatError
from muniment.local.atomicfile import write_atomic
from muniment.monitor.report import MonitorRound

SUFFIX: Final = ".round"
"""Appended to the name of the state's file."""

MAX_ROUND: Final = 4 << 20
"""Largest file, in bytes."""


class ToldAlarm(msgspec.Struct, frozen=True):
    """An alarm as the monitor told it."""

    kind: str
    party: str
    sentence: str
    weight: str


class ToldHead(msgspec.Struct, frozen=True):
    """The size of a head that a party showed, and whether a quorum cosigned it."""

    size: int
    quorum: bool


class ToldParty(msgspec.Struct, frozen=True):
    """Who was asked; without a head it showed nothing that verifies."""

    party: str
    head: ToldHead | None = None


class ToldRound(msgspec.Struct, frozen=True):
    """A round as `MonitorRound.as_json` has it."""

    origin: str
    time: int
    heads: tuple[ToldParty, ...]
    agreeing: tuple[str, ...]
    not_compared: tuple[str, ...]
    alarms: tuple[ToldAlarm, ...]


def round_path(state: Path) -> Path:
    """Where the last round is of a monitor that keeps its state there."""
    return state.with_name(state.name + SUFFIX)


def write_round(state: Path, result: MonitorRound) -> None:
    """Writes a round beside the state; InputError if it cannot be written."""
    data = json.dumps(result.as_json()).encode() + b"\n"
    write_atomic(round_path(state), data, "monitor round")


def parse_round(data: bytes) -> ToldRound:
    """Reads what `write_round` wrote; FormatError if it is something else."""
    try:
        return msgspec.json.decode(data, type=ToldRound)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FormatError(f"no round of a monitor: {error}") from None
