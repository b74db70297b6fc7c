"""One leaf: a decision with all that is known of it, or another record; and files to take along."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from muniment.errors import InputError
from muniment.explore.leafview import LeafView, bundle_of, look_at, permit_of
from muniment.explore.pathpicture import draw, steps
from muniment.explore.proving import prove
from muniment.explore.site import NotYetError, Site
from muniment.explore.table import TableReader
from muniment.index.reader import IndexReader
from muniment.records.codec import parse_leaves
from muniment.tlog.encoding import FormatError
from muniment.tlog.policy import CosignedCheckpoint, show

_LEAF = r"/decision/{index:\d{1,18}}"


def routes(site: Site) -> list[web.RouteDef]:
    """The page, and its downloads."""

    async def page(request: web.Request) -> web.Response:
        index, now = int(request.match_info["index"]), site.now
        cosigned, view = await site.look(partial(_view, site, index, now))
        path = steps(view.proof, view.leaf)
        return await site.page(
            request,
            "decision.html",
            title=f"Leaf {index:,}",
            index=index,
            size=cosigned.size,
            view=view,
            record=view.record,
            kind=_kind(view),
            text=_text(view),
            path_steps=path,
            picture=draw(path),
            cosigners=[(show(name), time) for name, time in cosigned.cosigners],
            log_keys=[f"{one.name}+{one.key_id:08x}" for one in cosigned.log_keys],
            now=now,
            pretty=pretty,
        )

    return [
        web.get(_LEAF, page),
        web.get(_LEAF + "/leaf", _download(site, "leaf", _leaf)),
        web.get(_LEAF + "/proof", _download(site, "tlog-proof", _proof)),
        web.get(_LEAF + "/permit", _download(site, "permit", _permit)),
        web.get(_LEAF + "/bundle", _download(site, "lineage", _bundle)),
    ]


_Make = Callable[[IndexReader, TableReader, CosignedCheckpoint, int, int], bytes]


def _view(
    site: Site, index: int, now: int, reader: IndexReader, table: TableReader
) -> tuple[CosignedCheckpoint, LeafView]:
    cosigned = _checkpoint(site, index, reader)
    return cosigned, look_at(reader, table, cosigned, index, now)


def _checkpoint(site: Site, index: int, reader: IndexReader) -> CosignedCheckpoint:
    cosigned = site.standing.checkpoint(reader)
    if cosigned is None:
        raise NotYetError
    if index >= cosigned.size:
        raise web.HTTPNotFound(
            text=f"There is no leaf {index:,}: the verified tree has {cosigned.size:,}."
        )
    return cosigned


def _download(site: Site, extension: str, make: _Make) -> Callable[[web.Request], Any]:
    async def download(request: web.Request) -> web.Response:
        index, now = int(request.match_info["index"]), site.now

        def work(reader: IndexReader, table: TableReader) -> bytes:
            return make(reader, table, _checkpoint(site, index, reader), index, now)

        try:
            data = await site.look(work)
        except (InputError, FormatError) as error:
            raise web.HTTPNotFound(text=str(error)) from None
        return web.Response(
            body=data,
            content_type="application/octet-stream",
            headers={"Content-Disposition": f'attachment; filename="leaf-{index}.{extension}"'},
        )

    return download


def _leaf(
    reader: IndexReader, _: TableReader, __: CosignedCheckpoint, index: int, ___: int
) -> bytes:
    return reader.leaves([index])[index]


def _proof(
    reader: IndexReader, table: TableReader, cosigned: CosignedCheckpoint, index: int, _: int
) -> bytes:
    return prove(reader, table, index, cosigned.signed).encode()


def _permit(
    reader: IndexReader, table: TableReader, cosigned: CosignedCheckpoint, index: int, _: int
) -> bytes:
    leaf = reader.leaves([index])[index]
    proof = prove(reader, table, index, cosigned.signed)
    return permit_of(reader, leaf, proof, discloses=True).encode()


def _bundle(
    reader: IndexReader, _: TableReader, __: CosignedCheckpoint, index: int, now: int
) -> bytes:
    [record] = parse_leaves([reader.leaves([index])[index]])
    execution = getattr(record, "execution", None)
    if execution is None:
        raise InputError(f"Leaf {index:,} is about no run, so there is no lineage to take along.")
    return bundle_of(reader, execution, now)


def _kind(view: LeafView) -> str:
    if view.record is not None:
        return type(view.record).__name__.lower()
    return "other" if view.manifest is None else "manifest"


def _text(view: LeafView) -> str:
    """The leaf as text: indented JSON of a record, otherwise the bytes as they are."""
    if view.record is not None:
        return pretty(msgspec.json.decode(view.leaf))
    return view.leaf.decode("utf-8", "backslashreplace")


def pretty(value: Any) -> str:
    """A JSON value, indented; what Python's types have no JSON for as its members."""
    return json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False)
