"""The log's own keys by command: printed, one more, or one less (`muniment_service.rotation`).

A log in one file must be stopped meanwhile. A cluster goes on, and its processes take the keys up
one after the other: see `cluster.keys`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from muniment.tlog.encoding import MunimentError
from muniment_log.cli.cluster import import_cluster_module
from muniment_log.cli.exits import code_of, fail, failing
from muniment_log.cli.options import CONFIG, PATH
from muniment_log.config import load
from muniment_log.storage.sqlite import SQLiteStore
from muniment_service.exits import EXIT_CONFIG
from muniment_service.process import run
from muniment_service.rotation import Own

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence
    from pathlib import Path

    from muniment.tlog.keys.keyfile import Algorithm
    from muniment.tlog.note import VKey


@click.command("vkeys")
@CONFIG
@click.option("--index", is_flag=True, help="Those of its index log: the same keys, renamed.")
def vkeys_command(config: Path, *, index: bool) -> None:
    """Print the public keys of the log, one vkey a line."""
    with failing(EXIT_CONFIG):
        loaded = load(config)
        if index:
            loaded = loaded.index_log
    for vkey in loaded.vkeys:
        click.echo(vkey)


@click.command("rotate-key")
@CONFIG
@click.option("--add", type=click.Choice(["ed25519", "mldsa44"]), help="Make another key.")
@click.option("--key", "key_path", type=PATH, help="Take up the key of this file as another one.")
@click.option("--retire", metavar="KEYID", help="Sign no more with this key.")
def rotate_key(
    config: Path, add: Algorithm | None, key_path: Path | None, retire: str | None
) -> None:
    """Add a key or retire one, while the log is stopped; prints the vkey of a new one.

    The log signs with all of its keys. Add the new one, start the log, have all verifiers take its
    vkey up, and then retire the old one. Its file stays. A cluster need not stop: see docs/keys.md.
    """
    if [add, key_path, retire].count(None) != 2:
        raise click.UsageError("either --add, --key or --retire")
    try:
        own = own_keys(config)
        if add is not None:
            click.echo(str(own.add(add)))
        elif key_path is not None:
            click.echo(str(own.take_up(key_path)))
        elif retire is not None:
            own.retire(retire)
    except (MunimentError, OSError) as error:
        fail(code_of(error), error)
    click.echo("changed; start the log, or all processes of the cluster again", err=True)


def own_keys(config: Path) -> Own:
    """The log's own keys, to add one or retire one.

    Raises ConfigError if the configuration, a key or the cluster's libraries cannot be used.
    """
    loaded = load(config)
    file = loaded.file

    async def recorded() -> Collection[str]:
        if file.cluster is not None:
            found: list[str] = await import_cluster_module("cluster.keys").recorded(loaded)
            return found
        async with _opened(loaded.database) as store:
            return await store.vkeys()

    async def rebind(keys: Sequence[VKey], changed: VKey, commit: Callable[[], None]) -> None:
        if file.cluster is not None:
            await import_cluster_module("cluster.keys").rebind(loaded, keys, changed, commit)
            return
        async with _opened(loaded.database) as store:
            await store.rebind(file.origin, keys, commit)

    return Own(
        config,
        name=file.origin,
        use="log",
        keys=file.keys,
        passphrase_file=file.key_passphrase_file,
        check=load,
        recorded=lambda _: run(recorded()),
        record=lambda keys, changed, commit: run(rebind(keys, changed, commit)),
    )


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[SQLiteStore]:
    store = await SQLiteStore.open(path)
    try:
        yield store
    finally:
        await store.close()
