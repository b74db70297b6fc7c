"""Evidence of split views: what somebody has, verified here, and said in words."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from aiohttp import web

from muniment.audit.evidence import prove
from muniment.explore.asking import Given, evidence_in, evidence_of_witnesses
from muniment.explore.site import Site
from muniment.tlog.encoding import FormatError, VerificationError, printable
from muniment.tlog.evidence import (
    EXTENSION,
    MAX_EVIDENCE_SIZE,
    Proven,
    describe,
    explain,
    log_verifiers,
    parse_evidence,
    verify_evidence,
)
from muniment.tlog.note import Verifier

FOLLOWER: Final = "this explorer’s own follower"


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of evidence.

    Attributes:
        sources: Who has it: names of files, URLs of witnesses.
        data: The file; empty when there is none to be had.
        proven: What it proves; None when it proves nothing.
        lines: What it says, in words: verified only when `proven` is there.
        trouble: Why it proves nothing.
    """

    sources: tuple[str, ...]
    data: bytes
    proven: Proven | None
    lines: tuple[str, ...]
    trouble: str = ""

    @property
    def hash(self) -> str:
        """SHA-256 of the file, in hexadecimal digits."""
        return sha256(self.data).hexdigest()


def routes(site: Site) -> list[web.RouteDef]:
    """The tab, and the files on it."""

    async def tab(request: web.Request) -> web.Response:
        items = await _items(site)
        return await site.page(
            request,
            "evidence.html",
            title="Evidence",
            proven=[one for one in items if one.proven],
            others=[one for one in items if not one.proven],
            beyond=site.beyond,
        )

    async def file(request: web.Request) -> web.Response:
        name = request.match_info["hash"]
        for item in await _items(site):
            if item.data and item.hash == name:
                headers = {"Content-Disposition": f'attachment; filename="{name}{EXTENSION}"'}
                return web.Response(body=item.data, content_type="text/plain", headers=headers)
        raise web.HTTPNotFound(text="Nobody has that evidence any more.")

    return [
        web.get("/evidence", tab),
        web.get(f"/evidence/{{hash:[0-9a-f]{{64}}}}{EXTENSION}", file),
    ]


async def _items(site: Site) -> list[Item]:
    """All that there is, gravest first; of the log that is followed."""
    origin = (await site.status()).origin
    given: list[Given] = []
    if site.beyond.evidence is not None:
        given += evidence_in(site.beyond.evidence)
    if site.beyond.asks_witnesses:
        given += await evidence_of_witnesses(site.policy, origin)
    return [*_own(site), *judge(given, site, origin)]


def _own(site: Site) -> list[Item]:
    """What the follower has proven, and the replica keeps."""
    misbehaviour = site.following.misbehaviour
    if misbehaviour is None:
        return []
    try:
        proven = prove(misbehaviour, site.policy, site.beyond.old)
    except (FormatError, VerificationError) as error:
        return [Item((FOLLOWER,), b"", None, (misbehaviour.sentence,), printable(str(error)))]
    return [Item((FOLLOWER,), proven.evidence.encode(), proven, tuple(explain(proven)))]


def judge(given: Iterable[Given], site: Site, origin: str) -> list[Item]:
    """Verifies files with the log's keys of the policy; what is proven comes first."""
    items: dict[str, Item] = {}
    verifiers = log_verifiers(site.policy, site.beyond.old, origin=origin)
    for source, data, trouble in given:
        item = Item((source,), b"", None, (), trouble)
        if not trouble and len(data) > MAX_EVIDENCE_SIZE:
            item = Item((source,), b"", None, (), "is longer than evidence can be")
        elif not trouble:
            item = _judged(source, data, verifiers, origin)
        key = item.hash if item.data else source
        if key in items:
            known = items[key]
            item = Item(
                (*known.sources, source), known.data, known.proven, known.lines, known.trouble
            )
        items[key] = item
    return sorted(items.values(), key=lambda one: one.proven is None)


def _judged(source: str, data: bytes, verifiers: Iterable[Verifier], origin: str) -> Item:
    try:
        claim = parse_evidence(data)
    except FormatError as error:
        return Item((source,), data, None, (), printable(str(error)))
    try:
        proven = verify_evidence(claim, verifiers, origin=origin)
    except VerificationError as error:
        return Item((source,), data, None, tuple(describe(claim)), printable(str(error)))
    return Item((source,), data, proven, tuple(explain(proven)))
