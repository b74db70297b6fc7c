"""``agent:FINGERPRINT``: ssh-agent signs, by the protocol of draft-ietf-sshm-ssh-agent.

The fingerprint is what ``ssh-add -l`` shows (``SHA256:…``); a key's comment will do as well. Two of
the protocol's messages are all that is needed: which keys there are, and a signature by one. A
signature of ssh-agent is Ed25519 over the message itself (RFC 8709), as notes have it.
"""

import os
import socket
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from muniment.tlog.keys.remote import SIGNATURE_SIZE, SigningError

DEADLINE: Final = 15.0
"""Seconds for one answer of the agent; one that asks a person for each use may need some."""

_MAX_ANSWER: Final = 256 * 1024  # bytes, as OpenSSH's own
_IDENTITIES, _IDENTITIES_ANSWER = 11, 12
_SIGN, _SIGN_ANSWER = 13, 14
_ED25519: Final = b"ssh-ed25519"


def asking(spec: str, public: bytes) -> Callable[[bytes], bytes]:  # noqa: ARG001 - the vkey has it
    """Makes the function that has a message signed."""
    blob = _string(_ED25519) + _string(public)

    def ask(message: bytes) -> bytes:
        answer = _exchange(_SIGN, _string(blob) + _string(message) + bytes(4), _SIGN_ANSWER)
        kind, signature = _strings(_strings(answer, 1)[0], 2)
        if kind != _ED25519 or len(signature) != SIGNATURE_SIZE:
            raise SigningError("ssh-agent: an answer without an Ed25519 signature")
        return signature

    return ask


def public(spec: str) -> bytes:
    """The public half of a key that the agent has: 32 bytes.

    Raises SigningError if it has none of that fingerprint or comment, or several, or it is not
    Ed25519.
    """
    found: set[bytes] = set()
    others = 0
    answer = _exchange(_IDENTITIES, b"", _IDENTITIES_ANSWER)
    count = int.from_bytes(answer[:4], "big")
    fields = _strings(answer[4:], 2 * count)
    for blob, comment in zip(fields[::2], fields[1::2], strict=True):
        digest = b64encode(sha256(blob).digest()).decode().rstrip("=")
        if spec not in {f"SHA256:{digest}", comment.decode(errors="replace")}:
            continue
        if blob.startswith(_string(_ED25519)):
            found.add(_strings(blob, 2)[1])
        else:
            others += 1
    if len(found) == 1:
        return found.pop()
    if found:
        raise SigningError(f"ssh-agent: several keys are called {spec}: name one by fingerprint")
    if others:
        raise SigningError(f"ssh-agent: {spec} is no Ed25519 key")
    raise SigningError(f"ssh-agent: no key {spec}; `ssh-add -l` lists those that it has")


def _exchange(kind: int, content: bytes, wanted: int) -> bytes:
    """Sends one message, and returns the content of the answer of the kind that is wanted."""
    path = os.environ.get("SSH_AUTH_SOCK")
    if not path:
        raise SigningError("ssh-agent: SSH_AUTH_SOCK is not set")
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(DEADLINE)
            connection.connect(path)
            connection.sendall(_string(bytes([kind]) + content))
            size = int.from_bytes(_read(connection, 4), "big")
            if not 0 < size <= _MAX_ANSWER:
                raise SigningError(f"ssh-agent: an answer of {size} bytes")
            answer = _read(connection, size)
    except OSError as error:
        raise SigningError(f"ssh-agent: {path}: {error.strerror or error}") from None
    if answer[0] != wanted:
        raise SigningError("ssh-agent: refused: it has not the key, is locked, or was told no")
    return answer[1:]


def _read(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise SigningError("ssh-agent: the connection ended within an answer")
        data += part
    return bytes(data)


def _string(data: bytes) -> bytes:
    """A string of SSH (RFC 4251 section 5): its length in four bytes, and the bytes."""
    return len(data).to_bytes(4, "big") + data


def _strings(data: bytes, count: int) -> list[bytes]:
    """So many strings that follow each other; SigningError where one is cut off or missing."""
    found: list[bytes] = []
    at = 0
    while len(found) < count:
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if at + 4 > len(data) or end > len(data):
            raise SigningError("ssh-agent: an answer that is cut off")
        found.append(data[at + 4 : end])
        at = end
    return found
