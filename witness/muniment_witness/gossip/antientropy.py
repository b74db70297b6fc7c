"""Anti-entropy: a witness reads what its peers have cosigned, and compares it.

Any C2SP witness can be a peer: each round reads its monitoring endpoint for each log, with
conditional requests. Of a Muniment witness it also reads the heads it knows but has not cosigned,
and the evidence it holds; and it asks what that peer has seen of *this* witness, which is how a
database that was restored from an old copy is found out.

A round says nothing about a log as such: only which head was compared with what, and when.
"""

import asyncio
import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from muniment.http.typedjson import decode_json
from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.local.taskgroup import TaskGroup
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import FormatError, VerificationError, unframe
from muniment.tlog.evidence import MAX_EVIDENCE_SIZE, parse_evidence
from muniment.tlog.note import UnverifiedNote, lines_of, verify_note
from muniment_witness.config import Peer
from muniment_witness.gossip.advance import HeadAdvancer
from muniment_witness.gossip.comparer import Comparer
from muniment_witness.gossip.jitter import jittered
from muniment_witness.gossip.net import UnreachableError
from muniment_witness.gossip.peers import (
    EVIDENCE_PATH,
    HEADS_PATH,
    MAX_HEADS,
    MAX_HEADS_SIZE,
    EvidenceList,
    PeerHead,
    PeerState,
)
from muniment_witness.gossip.shared import Shared, peer_prefix, shown_path
from muniment_witness.judge.comparison import Comparison
from muniment_witness.judge.relation import authentic
from muniment_witness.store.observations import DatedNote

MAX_FETCHED: Final = 32
"""Evidence files taken from one peer in one round."""

CONCURRENT: Final = 8
"""Requests to one peer at the same time."""

ASK_EVERY: Final = 20
"""Every so many rounds a peer is asked again whether it gossips, and what it saw of us."""

_HASH: Final = re.compile("[0-9a-f]{64}")
_LOGGER: Final = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True)
class PeerReader:
    """Reads the peers.

    Attributes:
        state: What is known, by peer name.
    """

    shared: Shared
    comparer: Comparer
    advancer: HeadAdvancer
    state: dict[str, PeerState] = field(init=False)

    def __post_init__(self) -> None:
        self._observations = self.shared.observations
        self.state = {
            peer.name: PeerState(heads={origin: PeerHead() for origin in self.shared.logs})
            for peer in self.shared.peers
        }

    async def run(self) -> None:
        """Reads all peers, and tries suspicions again, until cancelled."""
        async with TaskGroup() as group:
            for peer in self.shared.peers:
                group.create_task(self._run(peer), name=f"gossip {peer.name}")
            group.create_task(self._run_retries(), name="gossip retries")

    async def _run(self, peer: Peer) -> None:
        while True:
            await asyncio.sleep(
                jittered(self.shared.period, hurry=self.shared.suspensions.are_waiting)
            )
            await self.round(peer)

    async def _run_retries(self) -> None:
        while True:
            await asyncio.sleep(jittered(self.shared.period))
            await self.retry()

    async def retry(self) -> None:
        """Tries what is unresolved again, and makes durable what changed."""
        with Contained("retry of unresolved heads"):
            for origin in tuple(self.shared.suspensions.lost):
                await self.advancer.recover(origin, self.shared.tiles(origin))
            await self.comparer.retry(self.shared.tiles)

    async def round(self, peer: Peer) -> None:
        """Reads one peer once."""
        state = self.state[peer.name]
        rarely = state.rounds % ASK_EVERY == 0 or self.shared.suspensions.are_waiting
        state.rounds += 1
        with Contained(peer.name) as outcome:
            if rarely:
                state.gossips = True
                await self.ask_own(peer, self.shared.logs)
            else:
                await self._read_checkpoints(peer, self.shared.logs)
            reachable = [head for head in state.heads.values() if not head.error]
            if state.gossips and (reachable or not state.heads):
                await self._read_heads(peer, state)
                await self._read_evidence(peer, state)
        first = next((head.error for head in state.heads.values() if head.error), "")
        error = outcome.error or first
        if error and not state.error:
            event(
                _LOGGER, logging.WARNING, "cannot compare with a peer", peer=peer.name, error=error
            )
        state.error = error

    async def _read_checkpoints(self, peer: Peer, origins: Iterable[str]) -> None:
        """Compares what a peer has cosigned of some logs."""
        limit = asyncio.Semaphore(CONCURRENT)
        async with TaskGroup() as group:
            for origin in origins:
                group.create_task(self._read_head(peer, origin, limit))

    async def _read_head(self, peer: Peer, origin: str, limit: asyncio.Semaphore) -> None:
        with Contained(f"{peer.name} {origin}") as outcome:
            async with limit:
                await self._compare(peer, origin)
        self.state[peer.name].heads[origin].error = outcome.error

    def note_cosigners(self, origin: str, signed: SignedCheckpoint) -> None:
        """Looks for cosignatures of peers on a checkpoint that a log shows.

        A peer that cosigns a log, and shows no head of it, cannot be compared: that is an alarm.
        """
        for peer in self.shared.peers:
            head = self.state[peer.name].heads[origin]
            if head.size >= 0 or head.cosigns:
                continue  # compared, or known already
            lines = lines_of(signed.note.signatures, (each.vkey for each in peer.verifiers))
            with suppress(VerificationError):
                verify_note(UnverifiedNote(signed.note.text, lines), peer.verifiers)
                head.cosigns = True

    async def _compare(self, peer: Peer, origin: str) -> None:
        state = self.state[peer.name]
        head = state.heads[origin]
        prefix = peer_prefix(peer, origin)
        etag = "" if origin in self.shared.suspensions.unknown else head.etag
        answer = await self.shared.transport.get(f"{prefix}/checkpoint", etag=etag)
        now = state.reached = self.shared.clock()
        if answer.status == 404:
            head.size, head.etag, head.ahead = -1, "", 0
            return
        if answer.status == 304 and etag:
            head.compared = now
            self._note_lag(origin, head, now)
            return
        if answer.status != 200:
            raise UnreachableError(f"status {answer.status}")
        signed = parse_signed_checkpoint(answer.body)
        candidate = authentic(self.shared.logs[origin], signed)
        head.etag = ""
        self.advancer.note_own_cosignature(candidate, signed)
        finding = await self.comparer.observe(
            candidate, peer.name, self.shared.tiles(origin, first=peer)
        )
        # After the comparison: a head that the log signed counts whoever shows it. But only what
        # the peer has signed itself is held against, or remembered for, the peer.
        lines = lines_of(signed.note.signatures, (each.vkey for each in peer.verifiers))
        verified = verify_note(UnverifiedNote(signed.note.text, lines), peer.verifiers)
        head.size, head.finding, head.compared = candidate.size, finding, now
        head.time = max(each.timestamp or 0 for each in verified.signatures)
        self._note_lag(origin, head, now)
        self._remember(peer, origin, candidate.signed.with_signatures(lines))
        if finding != "unresolved":
            head.etag = answer.etag

    def _note_lag(self, origin: str, head: PeerHead, now: int) -> None:
        own = self.shared.store.head(origin).size
        if head.size <= own:
            head.ahead = 0
        elif not head.ahead or own >= head.target:
            head.ahead, head.target = now, head.size

    def _remember(self, peer: Peer, origin: str, signed: SignedCheckpoint) -> None:
        known = self._observations.shown.get((peer.name, origin))
        if known is not None:
            size = parse_signed_checkpoint(known.note).checkpoint.size
            if signed.checkpoint.size <= size:
                return
        self._observations.show(peer.name, origin, DatedNote(signed.encode(), self.shared.clock()))

    async def ask_own(self, peer: Peer, origins: Iterable[str]) -> None:
        """Asks a peer what it has seen this witness cosign; compares its heads of some logs.

        Raises UnreachableError if it does not answer.
        """
        state = self.state[peer.name]
        answered = [origin for origin in self.shared.logs if await self._ask_shown(peer, origin)]
        await self._read_checkpoints(peer, origins)
        for origin in answered:
            head = state.heads[origin]
            if not head.error and (head.size < 0 or head.finding != Comparison.UNRESOLVED):
                self.shared.suspensions.note_answer(origin, "peer")

    async def _ask_shown(self, peer: Peer, origin: str) -> bool:
        """Asks a peer for the newest head of ours that it knows; whether it answers."""
        answer = await self.shared.transport.get(
            f"{peer.url}/{shown_path(origin, self.shared.config.name)}"
        )
        if answer.status == 200:
            with Contained(peer.name) as outcome:
                signed = parse_signed_checkpoint(answer.body)
                candidate = authentic(self.shared.logs[origin], signed)
                self.advancer.note_own_cosignature(candidate, signed)
            if outcome.error:
                event(
                    _LOGGER,
                    logging.DEBUG,
                    "a peer shows something that is not a head of ours",
                    peer=peer.name,
                    error=outcome.error,
                )
                return False
        return answer.status in {200, 404}

    async def _read_heads(self, peer: Peer, state: PeerState) -> None:
        answer = await self.shared.transport.get(
            peer.url + HEADS_PATH, most=MAX_HEADS_SIZE, etag=state.heads_etag
        )
        if answer.status in {404, 405}:
            state.gossips = False
        if answer.status != 200:
            return
        for data in unframe(answer.body, "heads", most=MAX_HEADS):
            signed = parse_signed_checkpoint(data)
            log = self.shared.logs.get(signed.checkpoint.origin)
            if log is not None:
                prefixes = self.shared.tiles(log.origin, first=peer)
                await self.comparer.observe(authentic(log, signed), peer.name, prefixes)
        state.heads_etag = answer.etag

    async def _read_evidence(self, peer: Peer, state: PeerState) -> None:
        if not state.gossips:
            return
        url = peer.url + EVIDENCE_PATH
        answer = await self.shared.transport.get(url, most=MAX_HEADS_SIZE, etag=state.evidence_etag)
        if answer.status != 200:
            return
        listed = decode_json(answer.body, EvidenceList, "the list of evidence").evidence
        wanted = [
            each.hash
            for each in listed
            if each.origin in self.shared.logs
            and each.kind != "index"  # verified by who has the leaves, who finds it as well
            and not self._has_file(each.origin, each.hash)
        ]
        for name in wanted[:MAX_FETCHED]:
            if not _HASH.fullmatch(name):
                raise FormatError("the list of evidence: not a hash")
            file = await self.shared.transport.get(f"{url}/{name}", most=MAX_EVIDENCE_SIZE)
            if file.status == 200:
                evidence = parse_evidence(file.body)
                prefixes = self.shared.tiles(evidence.origin, first=peer)
                await self.comparer.take(evidence, peer.name, prefixes)
        if len(wanted) <= MAX_FETCHED:
            state.evidence_etag = answer.etag

    def _has_file(self, origin: str, name: str) -> bool:
        return any(known.hex() == name for known in self._observations.evidence.get(origin, ()))
