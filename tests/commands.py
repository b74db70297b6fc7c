"""The command ``muniment`` in this process: what it prints, with the exit code that is expected."""

import asyncio

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
