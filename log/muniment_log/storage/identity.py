"""Whose log a storage holds: bound once to an origin and its keys, and compared ever after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment_log.errors import WrongIdentityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def check_identity(
    owned: Mapping[str, str], origin: str, keys: Sequence[str], where: object
) -> None:
    """Compares what a storage is bound to with the log that wants to use it.

    Args:
        owned: vkey → origin, as stored; empty for a storage that was not bound before.
        origin: the log's origin.
        keys: the log's vkeys.
        where: names the storage in errors.

    Raises:
        WrongIdentityError: it belongs to another origin or to other keys.
    """
    if not owned:
        return
    if set(owned.values()) != {origin}:
        names = ", ".join(sorted(set(owned.values())))
        raise WrongIdentityError(f"{where} is the log {names}, not {origin}")
    if set(owned) != set(keys):
        raise WrongIdentityError(
            f"{where} belongs to the keys {_short(owned)}, not to {_short(keys)}"
        )


def _short(keys: Iterable[str]) -> str:
    # An ML-DSA-44 vkey is 1,800 characters; name and key ID say which key it is.
    return ", ".join(sorted(key.rsplit("+", 1)[0] for key in keys))
