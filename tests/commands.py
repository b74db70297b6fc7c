"""The command ``muniment`` in this process: what it prints, with the exit code that is expected."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner, Result

from muniment.cli import cli


def muniment(*arguments: str, stdin: bytes | str = b"", code: int = 0) -> Result:
    result = CliRunner().invoke(cli, arguments, input=stdin)
    assert result.exit_code == code, result.output + repr(result.exception)
    if result.exception is not None:
        assert isinstance(result.exception, SystemExit)
    return result


async def online(*arguments: str, stdin: bytes | str = b"", code: int = 0) -> Result:
    """As `muniment`, beside a log that runs on this loop."""
    return await asyncio.to_thread(muniment, *arguments, stdin=stdin, code=code)


def one_line(result: Result) -> str:
    """What it says went wrong, in one line."""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("muniment: ")
    return result.stderr


def receipts_of(result: Result) -> list[dict[str, Any]]:
    """What it prints, a JSON object a line."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def submit(url: str, *more: str) -> list[str]:
    """The words that submit with the key file of `gateway_folder`."""
    return ["submit", "--log", url, "--key", "gateway.pem", *more]


def write(name: str, data: bytes | str) -> None:
    Path(name).write_bytes(data.encode() if isinstance(data, str) else data)


def read(name: str) -> bytes:
    return Path(name).read_bytes()


def change_file(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def invoked(command: click.Command, *arguments: object) -> Result:
    """Another command in this process, however it ends."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments])
