"""``muniment policy``: what a policy is worth, and what it says over time."""

import json
from collections.abc import Iterator
from pathlib import Path
from time import time as clock
from typing import Any, Final

import click

from muniment.cli.common import FILE, TIME, count, json_option, read_policy
from muniment.cli.policychain import describe_version, init, say_window, show_versions, sign
from muniment.cli.policyupdate import update
from muniment.errors import InputError
from muniment.tlog.mirrors import MirrorAnalysis, analyse_mirrors, names_of_mirrors
from muniment.tlog.note import MAX_SIGNATURES
from muniment.tlog.policy import Policy, PolicyChain, show
from muniment.tlog.quorum import Analysis, analyse

_LOG_KEYS: Final = 2
"""Keys that `muniment-log init` makes."""


@click.group()
def policy() -> None:
    """Explain trust policies, and keep one in versions over time."""


policy.add_command(init)
policy.add_command(sign)
policy.add_command(show_versions)
policy.add_command(update)


@policy.command()
@click.argument("policy_path", metavar="POLICY", type=FILE)
@click.option(
    "--at",
    "time",
    type=TIME,
    metavar="TIME",
    help="Of a policy over time, explain the version in force then. Default: now.",
)
@json_option
def explain(policy_path: Path, time: int | None, *, as_json: bool) -> None:
    """Say in plain words what a policy's quorum protects from, and what it needs to work.

    Of a policy over time, the newest version in force is explained; with none, it has expired, and
    the command ends with 4.
    """
    parsed: Policy = read_policy(policy_path).at(int(clock()) if time is None else time)
    version = parsed.counted[-1] if isinstance(parsed, PolicyChain) else None
    _check_room(parsed)
    found, mirrors = analyse(parsed), analyse_mirrors(parsed)
    warnings = list(_warnings(parsed, found))
    if as_json:
        members = _members(parsed, found, mirrors) | {"warnings": warnings}
        if version is not None:
            members["version"] = describe_version(version)
        click.echo(json.dumps(members))
        return
    if version is not None:
        click.echo(f"Version {version.number}, {say_window(version)}.")
    for sentence in _sentences(parsed, found):
        click.echo(sentence)
    if mirrors:
        _explain_mirrors(mirrors)
    for warning in warnings:
        click.echo(f"Warning: {warning}.")


def _members(policy: Policy, found: Analysis, mirrors: MirrorAnalysis | None) -> dict[str, Any]:
    """What ``--json`` prints of a policy; member names are part of the interface."""
    return {
        "logs": list(policy.origins),
        "quorum": show(policy.quorum),
        "witnesses": [show(name) for name in found.witnesses],
        "scattered": list(map(show, found.scattered)),
        "unused": [show(name) for name in found.unused],
        "smallest_quorum": found.smallest,
        "byzantine": found.byzantine,
        "detectable": max(found.smallest - 1, -1),
        "absent": found.absent,
        "mirrors": mirrors
        and {
            "names": [show(name) for name in mirrors.names],
            "fewest": mirrors.fewest,
            "absent": mirrors.absent,
            "needed": mirrors.needed,
        },
    }


def _sentences(policy: Policy, found: Analysis) -> Iterator[str]:
    """What a policy trusts, what its quorum protects from, and what it needs to work."""
    for origin in policy.origins:
        keys = policy.log_keys(origin)
        others = dict.fromkeys(show(key.name) for key in keys if key.name != origin)
        named = f" of the name {', '.join(others)}" if others else ""
        yield f"Trusts the log {origin} ({count(len(keys), 'key')}{named})."
    if policy.quorum == "none":
        yield "Asks for no witness."
    else:
        yield (
            f"Counts {count(len(found.witnesses), 'witness key')}; the quorum "
            f"{show(policy.quorum)} takes at least {count(found.smallest, 'witness', 'witnesses')}."
        )
        for group in policy.groups:
            members = ", ".join(map(show, group.members))
            yield f"  {show(group.name)}: {group.threshold} of {len(group.members)}: {members}"
    if found.byzantine >= 0:
        yield (
            f"Split views are impossible while at most {found.byzantine} of the witnesses cheat: "
            "any two quorums share more than that."
        )
    detectable = found.smallest - 1
    if detectable > found.byzantine:
        who = f"at most {detectable} of them cheat" if detectable else "none of them cheats"
        yield (
            f"While {who}, each quorum has an honest witness: witnesses that compare what they saw "
            "find a split view afterwards."
        )
    if found.witnesses:
        yield f"Checkpoints keep coming while at most {found.absent} of them are away."
        yield (
            "A witness holds no leaves: what it has cosigned cannot be read from it when the log "
            "is lost."
        )


def _explain_mirrors(found: MirrorAnalysis) -> None:
    click.echo(
        f"Mirrors: {', '.join(map(show, found.names))}. A mirror cosigns a tree once it holds "
        "every leaf of it, and serves them."
    )
    others = found.fewest - 1
    away = (
        f"at most {others} of the mirrors lose them, are away or lied"
        if others
        else ("none of the mirrors that cosigned loses them, is away or lied")
    )
    click.echo(
        f"A mirrored tree takes at least {count(found.fewest, 'mirror')}: its leaves can be read, "
        f"and the log restored up to it, without the log, while {away}."
    )
    click.echo(f"Trees get mirrored while at most {found.absent} of the mirrors are away.")
    click.echo(
        "The quorum needs them: nothing counts as logged before mirrors hold it."
        if found.needed
        else "The quorum does not need them: who wants a decision held by mirrors before it counts "
        "asks for that (require=mirrored)."
    )


def _check_room(policy: Policy) -> None:
    """Refuses a policy whose witness keys and the log's own do not fit on one checkpoint."""
    own = max([_LOG_KEYS, *(len(policy.log_keys(origin)) for origin in policy.origins)])
    if own + len(policy.witnesses) > MAX_SIGNATURES:
        raise InputError(
            f"{len(policy.witnesses)} witness keys: a checkpoint has at most {MAX_SIGNATURES} "
            f"signature lines, {own} of them the log's own, so at most {MAX_SIGNATURES - own} "
            "witness keys can be asked"
        )


def _warnings(policy: Policy, found: Analysis) -> Iterator[str]:
    """What whoever relies on the policy should know, and may not mean."""
    if not found.witnesses:
        yield "without witnesses the log can show two people two histories, and nobody would notice"
    elif found.byzantine < 0:
        yield (
            "this does not prevent split views: two quorums need not share a witness, so the log "
            "can have two histories cosigned without any witness cheating; witnesses that gossip "
            "detect it only afterwards"
        )
    elif found.byzantine == 0:
        yield "one witness that cheats, together with the log, can make a split view"
    if found.witnesses and found.absent == 0:
        yield "one witness that is away stops the log from publishing"
    # Mirrors beside the quorum have a use of their own.
    beside = names_of_mirrors(policy)
    if unused := [show(name) for name in found.unused if name not in beside]:
        yield f"not used by the quorum: {', '.join(unused)}"
    if found.scattered:
        yield (
            f"the keys of {', '.join(map(show, found.scattered))} count as several witnesses; put "
            "the keys of one witness into a group of their own, or the figures are too good"
        )
    if not policy.logs:
        yield "it names no log, so it accepts no checkpoint"
