"""What becomes of withheld members: kept, erased by a record, or gone without one. Pure.

A decision names its addenda by digest, and says with `kept` whether the log keeps them; an erasure
names digests, too. Both make an event in the partition of the digest (see ``events``), with what
the log answered when it was asked for the addendum, so that ``judge`` has together what it takes:

- *withheld*: the log gives it out, or never promised to (its record does not say `kept`);
- *erased by record N*: an erasure of it is in the log, by the log itself or by the producer of a
  decision that names it; nobody else's word counts;
- *missing without an erasure*: the log took it, has it no more, and nobody has said why.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from hashlib import sha256
from typing import Final, Literal, NamedTuple, TypeAlias

from muniment.audit.events import EVENT, INDEX_BITS, INDEX_MASK, PARTITIONS, EventRole, Named

MAX_LISTED: Final = 1000
"""Erased members, and suspects, that are kept one by one; more are only counted."""

_OWNER_BITS: Final = 60
_OWNER_SHIFT: Final = 4  # below stand what the log answered, and whether it keeps the addendum
_ANSWER_SHIFT: Final = 1
_KEPT: Final = 1
_ERASED: Final = EventRole.ERASED << INDEX_BITS
_PARTITION_SHIFT: Final = 64 - (PARTITIONS.bit_length() - 1)


class AddendumState(IntEnum):
    """What the log says when it is asked for an addendum."""

    UNASKED = 0
    SERVED = 1
    """The bytes of this digest."""
    ABSENT = 2
    """It does not have them."""
    ERASED = 3
    """It has erased them, it says."""
    FALSE = 4
    """Other bytes, or none of the protocol."""
    REFUSED = 5
    """Whoever asks may not read addenda."""
    ODD = 6
    """The bytes of this digest, which are no addendum: whoever logged the decision made it so."""


class AddendumAnswer(NamedTuple):
    """An answer; of `ERASED`, the leaf index of the erasure as the log states it, -1 for none."""

    answer: AddendumState
    claimed: int = -1


UNASKED: Final = AddendumAnswer(AddendumState.UNASKED)

SuspectKind: TypeAlias = Literal["missing-addendum", "served-after-erasure", "bad-addendum"]


class Suspect(NamedTuple):
    """What seems to be wrong with an addendum that the leaf `index` names.

    `key` is what its digest hashes to.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    key: int
    kind: SuspectKind


class ErasedMember(NamedTuple):
    """A withheld member of the decision at `entry`, erased by the record at `by`.

    -1 is a decision in the part of the log that an earlier audit has read.
    """

    entry: int
    by: int


@dataclass(slots=True)
class Addenda:
    """What an audit says of the addenda that the records it read name; each digest counts once.

    Attributes:
        withheld: Addenda that decisions name.
        kept: Those of them that the log keeps, as the decision says.
        erased: Those that were erased, by a record that counts.
        served: Those that the log gave out, when it was asked.
        elsewhere: Those that it does not have, and never promised to.
        unread: Those that it may have, and does not give to whoever asks.
        was_asked: Whether the log was asked at all.
        erasures: Which were erased, and by which record; at most MAX_LISTED.
        strangers: Erasures that do not count: leaf indices of the decision and the erasure.
        odd: Entries whose addendum is served, and has not the form of one.
    """

    withheld: int = 0
    kept: int = 0
    erased: int = 0
    served: int = 0
    elsewhere: int = 0
    unread: int = 0
    was_asked: bool = False
    erasures: list[ErasedMember] = field(default_factory=list[ErasedMember])
    strangers: list[ErasedMember] = field(default_factory=list[ErasedMember])
    odd: list[int] = field(default_factory=list[int])
    suspects: list[Suspect] = field(default_factory=list[Suspect])

    def add(self, other: "Addenda") -> None:
        """Takes what another partition comes to."""
        for name in ("withheld", "kept", "erased", "served", "elsewhere", "unread"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.strangers += other.strangers
        self.odd += other.odd
        self.suspects += other.suspects
        self.erasures = sorted(self.erasures + other.erasures)[:MAX_LISTED]

    def erase(self, entry: int, by: int) -> None:
        """Counts a member that was erased."""
        self.erased += 1
        if len(self.erasures) < MAX_LISTED:
            self.erasures.append(ErasedMember(entry, by))


def key_of(digest: str) -> int:
    """What the events of an addendum are found by."""
    return int.from_bytes(sha256(f"addendum\0{digest}".encode()).digest()[:8], "big")


@lru_cache(maxsize=4096)
def owner_of(producer: str) -> int:
    """By what erasures are compared with who logged the decision: 60 bits of the producer's name.

    So many that nobody finds a name which passes for another's: it would blame an honest log.
    """
    return int.from_bytes(sha256(producer.encode()).digest()[:8], "big") >> (64 - _OWNER_BITS)


def events_of(named: Iterable[Named], said: dict[str, AddendumAnswer]) -> tuple[bytes, ...]:
    """Makes the events of digests that leaves name, in PARTITIONS, with the answers to them."""
    parts: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    for one in named:
        answer = said.get(one.digest, UNASKED).answer
        key = key_of(one.digest)
        role = EventRole.ERASED if one.erases else EventRole.WITHHELD
        extra = owner_of(one.producer) << _OWNER_SHIFT | answer << _ANSWER_SHIFT
        extra |= _KEPT if one.kept else 0
        place = role << INDEX_BITS | one.index
        parts[key >> _PARTITION_SHIFT].append(EVENT.pack(key, place, extra))
    return tuple(map(b"".join, parts))


class _Event(NamedTuple):
    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    owner: int
    answer: AddendumState
    is_kept: bool


def judge_addendum(
    key: int, events: Sequence[tuple[int, int]], log: int, found: Addenda, *, is_whole: bool
) -> None:
    """Judges one addendum, and counts it in `found`.

    Args:
        key: What its digest hashes to.
        events: Places and extras of all its events, in ascending order: decisions come first.
        log: What `owner_of` gives for the log's own name.
        found: What is known so far.
        is_whole: Whether the log was read from its first leaf on.
    """
    if len(events) == 1:
        place, extra = events[0]
        answer = extra >> _ANSWER_SHIFT & 7
        if place < _ERASED and answer <= AddendumState.SERVED:  # nearly all: one look is enough
            found.withheld += 1
            found.kept += bool(extra & _KEPT)
            found.served += answer
            return
    names: list[_Event] = []
    erasures: list[_Event] = []
    for place, extra in events:
        one = _Event(
            place & INDEX_MASK,
            extra >> _OWNER_SHIFT,
            AddendumState(extra >> _ANSWER_SHIFT & 7),
            bool(extra & _KEPT),
        )
        (names if place >> INDEX_BITS == EventRole.WITHHELD else erasures).append(one)
    may_erase = {log, *(one.owner for one in names)}
    counting = [one for one in erasures if one.owner in may_erase]
    kept = [one.index for one in names if one.is_kept]
    answers = {one.answer for one in (*names, *erasures)}
    first = names[0].index if names else erasures[0].index
    found.withheld += bool(names)
    found.kept += bool(kept)
    if names or is_whole:
        found.strangers += [
            ErasedMember(first, one.index) for one in erasures if one.owner not in may_erase
        ]
    if counting and (names or not is_whole):
        found.erase(first if names else -1, counting[0].index)
    if AddendumState.FALSE in answers:
        found.suspects.append(Suspect(first, key, "bad-addendum"))
    elif answers & {AddendumState.SERVED, AddendumState.ODD}:
        found.served += bool(names)
        if AddendumState.ODD in answers:
            found.odd.append(first)
        # A decision that came after it may have brought the addendum again.
        if counting and counting[-1].index > max((one.index for one in names), default=-1):
            at = counting[-1].index
            found.suspects.append(Suspect(at, key, "served-after-erasure"))
    elif answers & {AddendumState.ABSENT, AddendumState.ERASED} and names and not counting:
        if kept or AddendumState.ERASED in answers:
            at = kept[0] if kept else first
            found.suspects.append(Suspect(at, key, "missing-addendum"))
        else:
            found.elsewhere += 1
    elif AddendumState.REFUSED in answers and names:
        found.unread += 1
