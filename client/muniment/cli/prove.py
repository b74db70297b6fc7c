"""``muniment prove``."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from muniment.cli.common import (
    FILE,
    file_option,
    json_option,
    log_option,
    optional_policy,
    progress,
    read_policy,
    run,
)
from muniment.cli.proving import (
    cosigned_checkpoint,
    mirrored_checkpoint,
    newest_checkpoint,
    prove_leaf,
)
from muniment.errors import BadAnswer, FormatError, InputError, VerificationError
from muniment.http.logclient import LogClient
from muniment.local.atomicfile import read_bounded, write_atomic
from muniment.tlog.encoding import MAX_ENTRY
from muniment.tlog.merkle import HASH_SIZE, leaf_hash
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH, check_bundle, tile_at
from muniment.tlog.tlogproof import TlogProof

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment.tlog.policy import Policy

SCAN_WINDOW: Final = 32
"""Tiles read at the same time in search of a leaf: 8,192 leaves."""


@click.command()
@log_option
@click.option("--index", type=click.IntRange(min=0), help="The leaf's index.")
@file_option(
    "--leaf",
    "leaf_path",
    words="The leaf, byte for byte; its newest place in the log is searched for.",
)
@click.option("--out", type=FILE, metavar="FILE.tlog-proof", required=True, help="The new proof.")
@file_option("--entry-out", words="Write the leaf itself as well.")
@click.option(
    "--fresh",
    "is_fresh",
    is_flag=True,
    help="Lead to the newest checkpoint with all cosignatures that the log has, and wait for it.",
)
@click.option(
    "--mirrored",
    "is_mirrored",
    is_flag=True,
    help="Lead to a checkpoint whose leaves mirrors hold, and wait for it.",
)
@optional_policy("Verify the checkpoint before anything is written.")
@json_option
def prove(
    log_url: str,
    index: int | None,
    leaf_path: Path | None,
    out: Path,
    entry_out: Path | None,
    policy_path: Path | None,
    *,
    is_fresh: bool,
    is_mirrored: bool,
    as_json: bool,
) -> None:
    """Write a leaf's proof to a file that verifies offline, for ever.

    The proof leads from the leaf to the log's newest checkpoint, which it contains. It is made
    from the log's tiles and checked before it is written. `muniment refresh` adds cosignatures to
    it that come later.
    """
    if (index is None) == (leaf_path is None):
        raise click.UsageError("give either --index or --leaf")
    if is_fresh and is_mirrored:
        raise click.UsageError("give either --fresh or --mirrored")
    source = cosigned_checkpoint if is_fresh else newest_checkpoint
    if is_mirrored:
        source = mirrored_checkpoint
    policy = None if policy_path is None else read_policy(policy_path)
    leaf = None if leaf_path is None else read_bounded(leaf_path, "leaf", most=MAX_ENTRY)
    wants_entry = entry_out is not None
    proof, entry = run(_work(log_url, index, leaf, policy, source, wants_entry=wants_entry))
    if entry_out is not None:
        write_atomic(entry_out, entry, "entry")
    write_atomic(out, proof.encode(), "proof")
    head = proof.checkpoint.checkpoint
    if as_json:
        click.echo(json.dumps({"index": proof.index, "size": head.size, "origin": head.origin}))
    else:
        click.echo(f"Entry {proof.index} of {head.origin}, in the tree of {head.size}: {out}")


async def _work(
    log_url: str,
    index: int | None,
    leaf: bytes | None,
    policy: "Policy | None",
    source: "Callable[[LogClient, int], Awaitable[SignedCheckpoint]]",
    *,
    wants_entry: bool,
) -> tuple[TlogProof, bytes]:
    with progress("Searching") as show:
        async with LogClient(log_url) as client:
            least = 0 if index is None else index + 1
            checkpoint = await source(client, least)
            if policy is not None:
                policy.verify(checkpoint)
            size = checkpoint.checkpoint.size
            if index is None:
                index = await _find(client, leaf_hash(leaf or b""), size, show)
            if index >= size:
                raise InputError(f"entry {index} is not published: the checkpoint's size is {size}")
            proof, hashed = await prove_leaf(client, checkpoint, index)
            entry = leaf
            if entry is None and wants_entry:
                entry = await _entry(client, index, size)
    if entry is not None and leaf_hash(entry) != hashed:
        raise VerificationError(f"the log's entry {index} does not hash to its leaf")
    return proof, entry or b""


async def _entry(client: LogClient, index: int, size: int) -> bytes:
    tile = tile_at(ENTRIES, index // TILE_WIDTH, size)
    try:
        return check_bundle(tile, await client.tile(tile))[index % TILE_WIDTH]
    except FormatError as error:
        raise BadAnswer(str(error)) from None


async def _find(
    client: LogClient, wanted: bytes, size: int, show: "Callable[[int, int], None]"
) -> int:
    """Searches the level-0 tiles for a leaf hash, from the newest to the oldest."""
    numbers = list(range(-(-size // TILE_WIDTH)))
    while numbers:
        part = numbers[-SCAN_WINDOW:]
        del numbers[-SCAN_WINDOW:]
        tiles = [tile_at(0, number, size) for number in reversed(part)]
        for tile, data in zip(tiles, await asyncio.gather(*map(client.tile, tiles)), strict=True):
            at = data.rfind(wanted)
            while at >= 0 and at % HASH_SIZE:
                at = data.rfind(wanted, 0, at + HASH_SIZE - 1)
            if at >= 0:
                return tile.start + at // HASH_SIZE
        show(size - tiles[-1].start, size)
    raise InputError(f"the leaf is not among the {size} published entries")
