"""The command behind each figure; LOG, POLICY and REPLICA stand for what the reader has."""

import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from muniment.records.kinds import Entity
from muniment.report.scope import ReportScope

AUDIT: Final = "muniment audit --log LOG --policy POLICY --json"
FOLLOW: Final = "muniment follow LOG --policy POLICY --replica REPLICA --once"
_TAIL: Final = 1_000_000  # the most that `muniment tail --last` takes


def time_text(seconds: int) -> str:
    """A Unix time as commands read it."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def find_commands(
    scope: ReportScope,
    count: int,
    options: Mapping[str, str | None] | None = None,
    *,
    subjects: Sequence[Entity] | None = None,
) -> list[str]:
    """The commands that list the decisions behind a figure: one for each subject.

    Args:
        scope: The window, and the subjects unless `subjects` says otherwise.
        count: How many there are, so that the command lists all.
        options: More options of ``muniment find``, with their values; None for those without.
        subjects: Instead of the scope's.

    Returns:
        The commands; none where ``muniment find`` has no way to say what is asked for.
    """
    words = ["muniment", "find", "--replica", "REPLICA"]
    words += ["--since", time_text(scope.start), "--until", time_text(scope.end)]
    for option, value in (options or {}).items():
        words += [option] if value is None else [f"{option}={value}"]
    words += ["--limit", str(count + 1)]
    named = scope.subjects if subjects is None else subjects
    if any(not one.type or ":" in one.type or not one.id for one in named):
        return []
    asked = [[f"--subject={one.type}:{one.id}"] for one in named] or [[]]
    return [shlex.join([*words, *more, "--json"]) for more in asked]


def kind_command(kind: str) -> list[str]:
    """The command that lists the newest records of a kind, whatever their time."""
    return [f"muniment tail --replica REPLICA --once --last {_TAIL} --kind {kind} --json"]
