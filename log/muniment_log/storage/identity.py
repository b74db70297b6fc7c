"""Whose log a storage holds: bound once to an origin and its keys, and compared ever after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import MunimentError
from muniment.tlog.note import parse_note, parse_vkey, verify_note
from muniment_log.errors import WrongIdentityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def check_identity(
    owned: Mapping[str, str],
    origin: str,
    keys: Sequence[str],
    where: object,
    *,
    are_all: bool = True,
) -> None:
    """Compares what a storage is bound to with the log that wants to use it.

    `owned` has vkey → origin, as stored; nothing for a storage that was not bound before. With
    `are_all` the keys must be all of its keys, otherwise they may be some of them. Raises
    WrongIdentityError if it belongs to another origin or to other keys.
    """
    if not owned:
        return
    if set(owned.values()) != {origin}:
        names = ", ".join(sorted(set(owned.values())))
        raise WrongIdentityError(f"{where} is the log {names}, not {origin}")
    if set(keys) - set(owned) or (are_all and set(owned) != set(keys)):
        raise WrongIdentityError(
            f"{where} belongs to the keys {_short(owned)}, not to {_short(keys)}; "
            "if rotate-key was cut off, repeat it"
        )


def check_signed(note: bytes, keys: Sequence[str]) -> None:
    """Checks that all keys have signed the published checkpoint, before another one goes.

    By it those who hold these keys alone believe what was published. Raises WrongIdentityError if
    one of them has not.
    """
    for text in keys:
        key = parse_vkey(text)
        try:
            verify_note(parse_note(note), [verifier_for(key)])
        except MunimentError as error:
            raise WrongIdentityError(
                f"the key {key.key_id:08x} has not signed the published checkpoint yet; "
                "let the log publish with all keys first"
            ) from error


def _short(keys: Iterable[str]) -> str:
    # An ML-DSA-44 vkey is 1,800 characters; name and key ID say which key it is.
    return ", ".join(sorted(key.rsplit("+", 1)[0] for key in keys))
