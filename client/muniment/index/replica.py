"""Keeping a verified replica of a log that is reached over HTTP."""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from muniment.audit.evidence import check_kept
from muniment.audit.trust import ProvenMisbehaviour, StaleCheckpoint
from muniment.errors import InputError, MunimentError, VerificationError
from muniment.http.logclient import LogClient
from muniment.index.addenda import take_along
from muniment.index.follower import Follower, FollowRound, Progress
from muniment.index.httpsource import HttpSource
from muniment.index.store import IndexStore
from muniment.local.outside import Contained
from muniment.local.sqlitefile import DatabaseError
from muniment.tlog.note import VKey
from muniment.tlog.policy import Policy

MAX_PAUSE: Final = 60.0
"""Seconds: the longest pause between attempts at a log that does not answer, or answers wrongly."""


class Watched(NamedTuple):
    """What a replica follows: the log at a URL, of one origin if that is given.

    Attributes:
        url: The log's base URL.
        policy: The logs and the witness quorum that are trusted.
        origin: The log that is expected; any log of the policy when None.
        gateways: The gateways whose word counts for who reads the replica; None leaves those that
            it keeps.
        old_vkeys: Keys that the log had before those of the policy.
        addenda: Whether to take addenda along, too.
    """

    url: str
    policy: Policy
    origin: str | None = None
    gateways: tuple[VKey, ...] | None = None
    old_vkeys: tuple[VKey, ...] = ()
    addenda: bool = False

    def follower(self, store: IndexStore, client: LogClient) -> Follower:
        """Who brings a replica up to date: what that keeps must be signed by the log's keys."""
        source = HttpSource(client, self.policy, self.origin)
        check = partial(check_kept, policy=self.policy, old=self.old_vkeys)
        return Follower(store, source, check=check)

    async def step(
        self, follower: Follower, store: IndexStore, client: LogClient, progress: Progress
    ) -> FollowRound:
        """Does one round, and then what there is to do about addenda.

        Raises what `Follower.step` and `addenda.take_along` raise.
        """
        done = await follower.step(progress)
        head = done.checkpoint
        asked = client if self.addenda else None
        return done._replace(taken=await take_along(store.addenda, asked, head.origin, head.size))


async def follow_once(
    watched: Watched,
    path: Path,
    *,
    progress: Progress,
    first_use: Callable[[], object] = lambda: None,
) -> FollowRound:
    """Brings a replica, created when absent, up to the log's checkpoint, once.

    `first_use` is called when the replica knows no checkpoint yet, so that the log's is trusted.

    Raises:
        InputError: If what the replica keeps is not signed by the log's keys.
        MunimentError: What `Follower.step` raises.
    """
    store = await _opened(watched, path, first_use)
    try:
        async with LogClient(watched.url) as client:
            follower = watched.follower(store, client)
            for pause in client.pauses:
                try:
                    return await watched.step(follower, store, client, progress)
                except StaleCheckpoint:
                    await asyncio.sleep(pause)  # it may come from a copy that is behind
            return await watched.step(follower, store, client, progress)
    finally:
        await store.close()


async def keep_following(
    watched: Watched,
    path: Path,
    *,
    interval: float,
    reached: Callable[[FollowRound], None],
    trouble: Callable[[MunimentError], None],
    progress: Progress,
    first_use: Callable[[], object] = lambda: None,
) -> None:
    """Keeps a replica, created when absent, up to date until cancelled.

    What a log cannot give or cannot show to be true now, it may later: such rounds are told and
    tried again, less and less often. Proven misbehaviour and a file that cannot be used end it.

    Args:
        watched: The log.
        path: The replica.
        interval: Seconds between rounds.
        reached: Told of every round that went well.
        trouble: Told of every round that did not.
        progress: Told how far a round is.
        first_use: As for `follow_once`.

    Raises:
        ProvenMisbehaviour: If the log's own signatures prove that it has two histories.
        InputError: If what the replica keeps is not signed by the log's keys.
        DatabaseError, FatalDatabaseError: If the file cannot be used.
    """
    store = await _opened(watched, path, first_use)
    try:
        async with LogClient(watched.url) as client:
            follower = watched.follower(store, client)
            pause = interval
            while True:
                with Contained(
                    watched.url, (ProvenMisbehaviour, DatabaseError, InputError)
                ) as outcome:
                    reached(await watched.step(follower, store, client, progress))
                    pause = interval
                if (cause := outcome.cause) is not None:
                    odd = VerificationError(f"{watched.url}: {outcome.error}")
                    trouble(cause if isinstance(cause, MunimentError) else odd)
                    pause = max(interval, min(MAX_PAUSE, 2 * pause))
                # Followers that began together, or lost one log together, should not ask together.
                await asyncio.sleep(pause * random.uniform(0.9, 1.1))  # noqa: S311 - jitter, not a secret
    finally:
        await store.close()


async def _opened(watched: Watched, path: Path, first_use: Callable[[], object]) -> IndexStore:
    store = await IndexStore.open(path, keeps_bundles=True)
    try:
        if await store.trust() is None:
            first_use()
        if watched.gateways is not None:
            await store.trust_gateways([str(vkey) for vkey in watched.gateways])
    except BaseException:
        await store.close()
        raise
    return store
