"""Whether a cluster's bucket shows everybody what records withhold: found out by asking like that.

A bucket that serves tiles to the world is a good way to serve a log; what is private must not be
shown along with them. What only a CDN or web server shows, with credentials of its own, cannot be
seen from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from muniment_log.cluster.addendaobjects import ARRIVING
from muniment_log.cluster.objects import ObjectStore
from muniment_log.cluster.s3 import ERASABLE
from muniment_log.errors import StorageError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROBES: Final = ("addenda/private", f"{ARRIVING}private")
_TEXT: Final = b"Whoever reads this without credentials could read what records withhold.\n"


async def find_public(
    url: str, objects: ObjectStore, environment: Mapping[str, str] | None = None
) -> str | None:
    """The key of an object among the addenda that can be read without credentials; None if none.

    It leaves an object below `addenda/` and one below `arriving/`. What cannot be found out counts
    as private.
    """
    anybody = ObjectStore.open(url, environment=environment, is_anonymous=True)
    try:
        for key in _PROBES:
            try:
                await objects.create(key, _TEXT, ERASABLE)
                await anybody.get(key)
            except (LookupError, StorageError, UnavailableError):
                continue
            return key
    finally:
        await anybody.close()
    return None
