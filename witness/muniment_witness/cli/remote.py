"""What the commands `status` and `export` read of a running witness: only what it serves to all."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from muniment.http.typedjson import decode_json
from muniment.tlog.encoding import FormatError, MunimentError, printable
from muniment.tlog.evidence import EXTENSION, MAX_EVIDENCE_SIZE
from muniment.tlog.witnesswire import origin_hash
from muniment_witness.gossip.net import MAX_ANSWER, Transport, TransportAnswer, UnreachableError
from muniment_witness.gossip.peers import EVIDENCE_PATH

MAX_STATUS_SIZE: Final = 16 << 20
"""Largest status in bytes; thousands of logs."""


class NamedTransport:
    """Makes requests whose errors name the URL; nothing else that a command prints would."""

    def __init__(self, transport: Transport) -> None:
        """Makes them by another transport."""
        self._transport = transport

    async def get(self, url: str, *, most: int = MAX_ANSWER, etag: str = "") -> TransportAnswer:
        """See `Transport`."""
        with _naming(url):
            return await self._transport.get(url, most=most, etag=etag)

    async def post(self, url: str, body: bytes) -> TransportAnswer:
        """See `Transport`."""
        with _naming(url):
            return await self._transport.post(url, body)


@contextmanager
def _naming(url: str) -> Iterator[None]:
    try:
        yield
    except UnreachableError as error:
        raise UnreachableError(f"{url}: {error}") from error


async def read_status(transport: Transport, url: str, name: str = "") -> dict[str, Any]:
    """Reads the status of a witness as JSON values; `FormatError` when it is no status.

    With a name, UnreachableError when it is another witness's, as at a port that others use too.
    """
    answer = await transport.get(f"{url}/status.json", most=MAX_STATUS_SIZE)
    if answer.status != 200:
        raise UnreachableError(f"{url}/status.json: HTTP {answer.status}: is that a witness?")
    status = decode_json(answer.body, dict[str, Any], "the status")
    if name and status.get("name") != name:
        other = printable(str(status.get("name")))
        raise UnreachableError(
            f"{url}/status.json: {other} answers, and not {name}: does that run?"
        )
    return status


async def read_all(transport: Transport, url: str, name: str = "") -> dict[str, bytes]:
    """Reads the status, the latest checkpoints and all evidence of a witness, by file name.

    Without what has gone since the status was made; UnreachableError if anything else is missing.
    """
    status = await read_status(transport, url, name)
    files = {"status.json": msgspec.json.format(msgspec.json.encode(status))}
    try:
        for log in status["logs"]:
            if log["cosigned"] is not None:
                name = origin_hash(log["origin"])
                files |= await _read(transport, f"{url}/{name}/checkpoint", f"{name}.checkpoint")
            for each in log["evidence"]:
                digest = bytes.fromhex(each["hash"]).hex()  # also keeps it a plain file name
                place = f"{url}{EVIDENCE_PATH}/{digest}"
                files |= await _read(transport, place, digest + EXTENSION, MAX_EVIDENCE_SIZE)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"the status: {error!r}") from error
    return files


async def _read(
    transport: Transport, url: str, name: str, most: int = MAX_ANSWER
) -> dict[str, bytes]:
    """What is at a URL, by its file name; nothing if it has gone."""
    answer = await transport.get(url, most=most)
    if answer.status == 404:
        return {}
    if answer.status != 200:
        raise UnreachableError(f"{url}: HTTP {answer.status}")
    return {name: answer.body}


def write_all(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Writes files into a folder, which is made when absent; `MunimentError` when that fails."""
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
            written.append(folder / name)
    except OSError as error:
        raise MunimentError(f"{folder}: {error.strerror}") from error
    return written


def lines_of(status: dict[str, Any]) -> list[str]:
    """The status in a few lines for a terminal; `FormatError` when it is no status."""
    try:
        lines = [
            f"alarm  {each['kind']}  {each['subject']}: {each['detail']}"
            for each in status["alarms"]
        ]
        if (configuration := status.get("configuration")) is not None:
            lines.append(f"config {configuration['file']}: in force since {configuration['since']}")
            if (refused := configuration["refused"]) is not None:
                lines.append(f"       reload refused at {refused['at']}: {refused['reason']}")
        if (database := status.get("database")) is not None:
            lost = {"backup": "; restored from a backup", "anew": "; an older one was lost"}
            by = database["by"] or "a version that did not record it"
            lines.append(f"data   made by {by}{lost.get(database['lost'], '')}")
        for log in status["logs"]:
            size = log["cosigned"]["size"] if log["cosigned"] else "nothing"
            age = f", {log['cosigned']['age']} s ago" if log["cosigned"] else ""
            lines.append(f"log    {log['origin']}: cosigned {size}{age}; knows {log['known_size']}")
            lines += [
                f"       evidence {each['hash']} {each['kind']}"
                f"{' (acknowledged)' if each['acknowledged'] else ''}"
                for each in log["evidence"]
            ]
        for peer in status["peers"]:
            compared = sum(log["compared"] is not None for log in peer["logs"])
            lines.append(
                f"peer   {peer['name']}: compared {compared} of {len(peer['logs'])} logs"
                + (f"; {peer['error']}" if peer["error"] else "")
            )
    except (AttributeError, KeyError, TypeError) as error:
        raise FormatError(f"the status: {error!r}") from error
    return [printable(line).encode("ascii", "backslashreplace").decode() for line in lines]
