"""``exec:COMMAND ARG…``: a command signs, once for each message.

The message is its stdin, to the end; its stdout is the signature, 64 bytes as they are or in base64
on one line. What it writes to stderr is shown when it fails. No shell is involved: the words are
split as a shell would, and the command is found as a shell would.
"""

import shlex
import subprocess
from binascii import Error, a2b_base64
from collections.abc import Callable
from typing import Final

from muniment.tlog.encoding import FormatError, one_line
from muniment.tlog.keys.remote import SIGNATURE_SIZE, SigningError

DEADLINE: Final = 15.0
"""Seconds for one signature; a command that takes longer is killed."""

_SHOWN: Final = 300  # characters of what it says


def asking(spec: str, public: bytes) -> Callable[[bytes], bytes]:  # noqa: ARG001 - as the others
    """Makes the function that has a message signed; FormatError if there are no words."""
    try:
        words = shlex.split(spec)
    except ValueError as error:
        raise FormatError(f"signer: exec: {error}") from None
    if not words:
        raise FormatError("signer: exec: no command")

    def ask(message: bytes) -> bytes:
        try:
            done = subprocess.run(  # noqa: S603 - the operator names the command
                words, input=message, capture_output=True, timeout=DEADLINE, check=False
            )
        except OSError as error:
            raise SigningError(f"{words[0]}: cannot be run: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise SigningError(f"{words[0]}: no signature within {DEADLINE:.0f} s") from None
        if done.returncode:
            shown = one_line(done.stderr.decode(errors="replace"))[:_SHOWN]
            raise SigningError(f"{words[0]}: ended with {done.returncode}: {shown}")
        return _signature(done.stdout)

    return ask


def _signature(output: bytes) -> bytes:
    if len(output) == SIGNATURE_SIZE:
        return output
    try:
        return a2b_base64(output.strip(), strict_mode=True)
    except Error:
        return output  # of a length that is refused
