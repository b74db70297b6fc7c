"""Asking a log for the addenda that its records name, and once more for those that seem wrong.

A log goes on while it is audited: what was there may have been erased since, by a record beyond the
audited tree. So whatever seems wrong is asked for again at the end, and the erasures that were
logged meanwhile are read, before anything is said against the log.
"""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from muniment.audit.addenda import (
    MAX_LISTED,
    Addenda,
    AddendumAnswer,
    AddendumState,
    Suspect,
    key_of,
)
from muniment.audit.events import Named, named_in
from muniment.audit.report import MISMATCH, Report, Weight
from muniment.audit.reuse import read_leaves
from muniment.audit.trust import TrustState
from muniment.errors import BadAnswer, Refused, VerificationError
from muniment.http.logclient import LogClient
from muniment.http.logtiles import log_tiles
from muniment.records.commitments import read_addendum
from muniment.tlog.encoding import FormatError
from muniment.tlog.policy import CosignedCheckpoint, Policy
from muniment.tlog.tiles import bundles_of, check_bundle
from muniment.tlog.treereader import read_prefix

AT_ONCE: Final = 8
"""Addenda asked for at the same time: at most 128 MiB of them."""

WINDOW: Final = 16
"""Entry bundles read at the same time."""

_NO_ACCESS: Final = frozenset({401, 403})
_NOT_THERE: Final = {404: AddendumState.ABSENT, 410: AddendumState.ERASED}


async def ask(client: LogClient, digests: Iterable[str]) -> dict[str, AddendumAnswer]:
    """Asks for addenda by their digests; when one may not be read, the others are taken alike.

    Raises Unreachable or Refused if the log cannot answer now, or in another way.
    """
    said: dict[str, AddendumAnswer] = {}
    waiting = iter(dict.fromkeys(digests))
    while part := [*islice(waiting, AT_ONCE)]:
        answers = await asyncio.gather(*[_ask(client, digest) for digest in part])
        said.update(zip(part, answers, strict=True))
        if AddendumAnswer(AddendumState.REFUSED) in answers:
            said.update(dict.fromkeys(waiting, AddendumAnswer(AddendumState.REFUSED)))
    return said


async def _ask(client: LogClient, digest: str) -> AddendumAnswer:
    try:
        data = await client.addendum(digest)
    except BadAnswer:
        return AddendumAnswer(AddendumState.FALSE)
    except FormatError:
        # A record that is not valid names what no log can have.
        return AddendumAnswer(AddendumState.ABSENT)
    except Refused as refusal:
        problem = refusal.problem
        if refusal.is_damage:
            return AddendumAnswer(AddendumState.FALSE)
        if problem.status in _NO_ACCESS:
            return AddendumAnswer(AddendumState.REFUSED)
        if problem.status not in _NOT_THERE:
            raise
        claimed = problem.integer("record")
        return AddendumAnswer(_NOT_THERE[problem.status], -1 if claimed is None else claimed)
    try:
        read_addendum(data, digest)
    except FormatError:
        return AddendumAnswer(AddendumState.ODD)
    return AddendumAnswer(AddendumState.SERVED)


async def confirm(
    client: LogClient, policy: Policy, trust: TrustState, found: Addenda, report: Report
) -> None:
    """Asks again for what seems wrong, and reports what still is.

    Args:
        client: The log.
        policy: What a newer checkpoint has to satisfy.
        trust: The audited tree.
        found: What the audit says of addenda; suspects that turn out well are counted there.
        report: Takes the findings.

    Raises:
        ProvenMisbehaviour: If the log now shows a tree that does not extend the audited one.
        Unreachable, Refused, VerificationError, FormatError: If it does not show one that holds.
    """
    suspects = sorted(found.suspects)
    if not suspects:
        return
    asked = suspects[:MAX_LISTED]
    try:
        wanted = {one.index for one in asked}
        leaves = await read_leaves(client, wanted, trust.checkpoint.checkpoint.head)
        named = {one: _named(leaves[one.index], one) for one in asked}
    except (VerificationError, FormatError) as error:
        sentence = (
            f"{len(suspects)} addenda seem to be missing, or other ones, and the leaves that name "
            f"them are not shown again as they were: {error}"
        )
        report.found(MISMATCH, sentence, Weight.UNVERIFIED, suspects[0].index)
        return
    said = await ask(client, [one.digest for one in named.values()])
    claimed = max((one.claimed for one in said.values()), default=-1)
    later: dict[str, list[tuple[int, str]]] | None = None
    for suspect, one in named.items():
        answer = said[one.digest].answer
        if suspect.kind == "missing-addendum":
            if answer in (AddendumState.SERVED, AddendumState.ODD):
                found.served += 1
                continue
            if answer in (AddendumState.ABSENT, AddendumState.ERASED):
                if later is None:
                    later = await _erased_since(client, policy, trust, claimed)
                may_erase = {trust.origin, one.producer}
                by = [at for at, producer in later.get(one.digest, ()) if producer in may_erase]
                if by:
                    found.erase(suspect.index, by[0])
                    continue
                report.found(*_missing(one, said[one.digest]), suspect.index)
                continue
        if suspect.kind == "served-after-erasure" and answer in (
            AddendumState.SERVED,
            AddendumState.ODD,
        ):
            sentence = f"the log gives out the addendum {one.digest}, which this record erases"
            report.found(suspect.kind, sentence, Weight.UNVERIFIED, suspect.index)
        elif answer is AddendumState.FALSE:
            sentence = f"asked for the addendum {one.digest}, the log sent something else"
            report.found("bad-addendum", sentence, Weight.UNVERIFIED, suspect.index)
    for left in suspects[MAX_LISTED:]:
        sentence = "one more; so many are not asked for again"
        report.found(left.kind, sentence, Weight.UNVERIFIED, left.index)


def _missing(one: Named, said: AddendumAnswer) -> tuple[str, str, Weight]:
    promised = "the log took" if one.kept else "the log had"
    does = "does not have it"
    if said.answer is AddendumState.ERASED:
        where = "" if said.claimed < 0 else f" by entry {said.claimed}"
        does = f"says that it was erased{where}"
    sentence = (
        f"{promised} the addendum {one.digest} of {one.pointer!a} and {does} any more, "
        "but no record of the log's or of this producer says that it was erased"
    )
    return "missing-addendum", sentence, Weight.UNVERIFIED


def _named(leaf: bytes, suspect: Suspect) -> Named:
    for one in named_in(leaf, suspect.index):
        if key_of(one.digest) == suspect.key:
            return one
    # The leaves that were audited were not of the tree, and this one is.
    raise VerificationError(f"leaf {suspect.index} of the tree names no such addendum")


async def _erased_since(
    client: LogClient, policy: Policy, trust: TrustState, claimed: int
) -> dict[str, list[tuple[int, str]]]:
    """The erasures that were logged behind the audited tree: index and producer, by digest.

    When the log states one at the leaf index `claimed`, it is given a moment to publish it.
    """
    new = await _newer(client, policy, trust.origin)
    for pause in client.pauses:
        if new.size > claimed:
            break
        await asyncio.sleep(pause)
        new = await _newer(client, policy, trust.origin)
    erased: dict[str, list[tuple[int, str]]] = {}
    if new.size <= trust.size:
        return erased
    tiles = log_tiles(client, new.head)
    prefix = await read_prefix(tiles, trust.size, new.size)
    trust.accept(new, prefix.proof, implied_root=prefix.root)
    bundles = bundles_of(trust.size, new.size, new.size)
    while part := [*islice(bundles, WINDOW)]:
        contents = await tiles.read(part)
        for tile in part:
            for index, entry in enumerate(check_bundle(tile, contents[tile]), tile.start):
                for one in named_in(entry, index) if index >= trust.size else ():
                    if one.erases:
                        erased.setdefault(one.digest, []).append((index, one.producer))
    return erased


async def _newer(client: LogClient, policy: Policy, origin: str) -> CosignedCheckpoint:
    return policy.verify(await client.checkpoint(), origin=origin)


def describe(found: Addenda) -> Sequence[str]:
    """What an audit says of addenda, in sentences; none when the records name none."""
    if not found.withheld and not found.erased:
        return ()
    kept = f"of which the log keeps {found.kept}"
    sentences = [f"Withheld members: {found.withheld}, {kept}; erased by a record: {found.erased}."]
    if not found.was_asked:
        sentences.append("Not looked at: whether the log still has the others (--addenda).")
    else:
        sentences.append(
            f"Asked the log for them: {found.served} given out, {found.elsewhere} never promised "
            f"and not there, {found.unread} not for this reader."
        )
    return sentences
