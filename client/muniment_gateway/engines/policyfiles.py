"""The policy of an engine by its files: what decided is told by what is in them."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from muniment.local.regularfile import open_regular
from muniment.records.artifact import PolicyRef
from muniment_gateway.authorities import PolicyEntry
from muniment_gateway.engines.port import NoAnswerError

MAX_FILES_BYTES: Final = 16 << 20
"""Bytes of all files of one policy."""

_REVISION: Final = 12  # hexadecimal digits of the digest


def read_files(paths: Sequence[Path]) -> list[bytes]:
    """Reads the files of a policy.

    Raises NoAnswerError if one cannot be read, or they are too long; names it.
    """
    found: list[bytes] = []
    left = MAX_FILES_BYTES
    for path in paths:
        try:
            with open_regular(path) as file:
                data = file.read(left + 1)
        except OSError as error:
            raise NoAnswerError(f"{path}: {error.strerror or error}") from error
        left -= len(data)
        if left < 0:
            raise NoAnswerError(
                f"{path}: the policy's files have more than {MAX_FILES_BYTES} bytes"
            )
        found.append(data)
    return found


def digest_of(files: Sequence[bytes]) -> str:
    """The digest of one file, or of several: then of a line with each one's digest, in order."""
    if len(files) == 1:
        return f"sha256:{sha256(files[0]).hexdigest()}"
    lines = "".join(f"{sha256(data).hexdigest()}\n" for data in files)
    return f"sha256:{sha256(lines.encode()).hexdigest()}"


def policy_of(id_: str, files: Sequence[bytes], revision: str | None = None) -> PolicyRef:
    """The reference to a policy of these files."""
    digest = digest_of(files)
    short = digest.partition(":")[2][:_REVISION]
    return PolicyRef(id=id_, revision=revision or short, digest=digest)


def configured_policy(entry: PolicyEntry) -> PolicyRef:
    """The reference to a policy that the configuration names, as its files are now.

    Raises NoAnswerError if one of them cannot be read.
    """
    if entry.digest is not None:
        short = entry.digest.partition(":")[2][:_REVISION]
        return PolicyRef(id=entry.id, revision=entry.revision or short, digest=entry.digest)
    return policy_of(entry.id, read_files(entry.files), entry.revision)
