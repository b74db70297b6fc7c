"""The status of a witness, for people (HTML without JavaScript or CSS files) and as JSON.

It says what was compared with whom and when, and never that there is nothing to find: a witness
knows only what it was shown.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import islice
from typing import Any, Final, TypeVar

from muniment.tlog.encoding import format_base64
from muniment_witness.gossip.peers import PeerHead, PeerState
from muniment_witness.gossip.watch import Watch

_T = TypeVar("_T")

_AT_ONCE: Final = 64
"""Rows that are made in one step."""

_SCOPE = (
    "It reports what it has compared, with whom and when; it cannot know what it was not shown."
)
_STYLE = (
    "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:70em;padding:0 1em}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2em .8em .2em 0;"
    "border-bottom:1px solid #ccc;vertical-align:top}code{word-break:break-all}"
)


def status_in_parts(watch: Watch) -> Generator[None, None, dict[str, Any]]:
    """Makes the status as JSON values, in steps; times are Unix seconds, null for never.

    A step takes about a millisecond, whatever the witness knows.
    """
    status = {
        "name": watch.shared.config.name,
        "time": watch.shared.clock(),
        "vkeys": [str(signer.vkey) for signer in watch.shared.config.signers],
        "alarms": [alarm._asdict() for alarm in watch.refresh_alarms()],
    }
    yield
    logs: list[dict[str, Any]] = []
    for some in _in_parts(watch.shared.config.logs):
        logs += [_log(watch, origin) for origin in some]
        yield
    peers: list[dict[str, Any]] = []
    for name, state in list(watch.peer_reader.state.items()):
        peer = _peer(name, state)
        peers.append(peer)
        for heads in _in_parts(state.heads.items()):
            peer["logs"] += [_head(origin, head) for origin, head in heads]
            yield
    return {**status, "logs": logs, "peers": peers, "bastions": _bastions(watch)}


def _in_parts(items: Iterable[_T]) -> Iterator[list[_T]]:
    """Cuts what may change while it is gone through."""
    left = iter(list(items))
    while part := list(islice(left, _AT_ONCE)):
        yield part


def _log(watch: Watch, origin: str) -> dict[str, Any]:
    observations = watch.shared.store.observations
    latest = watch.shared.store.latest.get(origin)
    pulled = watch.puller.state.get(origin)
    held = watch.shared.suspensions(origin)
    return {
        "origin": origin,
        "vkeys": [str(each.vkey) for each in watch.shared.config.logs[origin].verifiers],
        "cosigned": None
        if latest is None
        else {
            "size": latest.head.size,
            "root": format_base64(latest.head.root),
            "time": latest.time,
            "age": watch.shared.clock() - latest.time,
        },
        "known_size": watch.comparer.known_size(origin),
        "held": None if held is None else held.detail,
        "read": None
        if pulled is None
        else {
            "url": watch.shared.config.options[origin].url,
            "reached": pulled.reached or None,
            "size": pulled.size,
            "finding": pulled.finding or None,
            "error": pulled.error or None,
        },
        "evidence": [
            {
                "hash": filed.hash.hex(),
                "kind": filed.kind,
                "source": filed.source,
                "time": filed.time,
                "acknowledged": filed.hash.hex() in watch.shared.suspensions.acknowledged(origin),
            }
            for filed in observations.evidence.get(origin, {}).values()
        ],
        "unresolved": [
            {
                "digest": digest.hex(),
                "source": suspicion.source,
                "since": suspicion.since,
                "reason": watch.comparer.reasons.get(digest),
            }
            for digest, suspicion in observations.suspicions.get(origin, {}).items()
        ],
    }


def _peer(name: str, state: PeerState) -> dict[str, Any]:
    return {
        "name": name,
        "reached": state.reached or None,
        "error": state.error or None,
        "rounds": state.rounds,
        "gossips": state.gossips,
        "logs": [],
    }


def _head(origin: str, head: PeerHead) -> dict[str, Any]:
    return {
        "origin": origin,
        "size": head.size if head.size >= 0 else None,
        "compared": head.compared or None,
        "finding": head.finding or None,
        "error": head.error or None,
    }


def _bastions(watch: Watch) -> list[dict[str, Any]]:
    logs = {each.prefix: each.logs for each in watch.shared.config.bastions}
    states = {} if watch.bastions is None else watch.bastions.state
    return [
        {
            "url": prefix,
            "logs": sorted(chosen) if (chosen := logs.get(prefix)) else "all",
            "since": state.since or None,
            "reached": state.reached or None,
            "error": state.error or None,
            "connections": state.connections,
            "requests": state.requests,
        }
        for prefix, state in states.items()
    ]


def html_of(status: dict[str, Any]) -> bytes:
    """Makes the status as an HTML page."""
    name = escape(status["name"])
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>',
        f"<style>{_STYLE}</style><h1>{name}</h1>",
        f"<p>A Muniment witness, at {_time(status['time'])}. {_SCOPE}</p>",
        *[f"<p><code>{escape(vkey)}</code></p>" for vkey in status["vkeys"]],
        "<h2>Alarms</h2>",
        _table(
            ("kind", "subject", "detail"),
            [(each["kind"], each["subject"], each["detail"]) for each in status["alarms"]],
        ),
        "<h2>Logs</h2>",
        _table(
            ("log", "cosigned", "when", "known size", "read", "state"),
            [_log_row(log) for log in status["logs"]],
        ),
        "<h2>Comparisons with peers</h2>",
        _table(
            ("peer", "log", "its size", "compared", "result"),
            [
                (
                    peer["name"],
                    log["origin"],
                    log["size"],
                    _time(log["compared"]),
                    log["error"] or log["finding"] or "not compared yet",
                )
                for peer in status["peers"]
                for log in peer["logs"]
            ],
        ),
    ]
    if status["bastions"]:
        rows = [
            (
                each["url"],
                each["logs"] if each["logs"] == "all" else ", ".join(each["logs"]),
                _time(each["since"]) if each["since"] else "not now",
                each["requests"],
                each["error"],
            )
            for each in status["bastions"]
        ]
        parts += [
            "<h2>Bastions</h2>",
            _table(("submission prefix", "logs", "served since", "requests", "error"), rows),
        ]
    evidence = [(log["origin"], each) for log in status["logs"] for each in log["evidence"]]
    parts += ["<h2>Evidence</h2>", _evidence(evidence)]
    unresolved = [
        (log["origin"], each["source"], _time(each["since"]), each["reason"])
        for log in status["logs"]
        for each in log["unresolved"]
    ]
    parts += [
        "<h2>Heads that could not be compared yet</h2>",
        _table(("log", "shown by", "since", "why"), unresolved),
    ]
    return "".join([*parts, "</html>\n"]).encode("utf-8", "backslashreplace")


def _log_row(log: dict[str, Any]) -> tuple[object, ...]:
    cosigned, read = log["cosigned"] or {}, log["read"] or {}
    when = _time(cosigned.get("time"))
    result = read.get("error") or read.get("finding") or ""
    shown = f"{_time(read.get('reached'))} {result}" if read else "not configured"
    return (
        log["origin"],
        cosigned.get("size"),
        when,
        log["known_size"],
        shown,
        log["held"] or "open",
    )


def _evidence(rows: list[tuple[str, dict[str, Any]]]) -> str:
    if not rows:
        return "<p>None held.</p>"
    cells = [
        f"<tr><td>{escape(origin)}<td>{escape(each['kind'])}<td>{_time(each['time'])}"
        f'<td><a href="gossip/evidence/{each["hash"]}">{each["hash"]}</a>'
        f"<td>{'acknowledged' if each['acknowledged'] else 'open'}"
        for origin, each in rows
    ]
    return f"<table><tr><th>log<th>kind<th>filed<th>hash<th>state{''.join(cells)}</table>"


def _table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    if not rows:
        return "<p>None.</p>"
    lines = ["".join(f"<td>{escape('' if c is None else str(c))}" for c in row) for row in rows]
    title = "".join(f"<th>{escape(each)}" for each in head)
    return f"<table><tr>{title}<tr>{'<tr>'.join(lines)}</table>"


def _time(seconds: int | None) -> str:
    if not seconds:
        return "never"
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
