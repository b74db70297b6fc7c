"""What a record is found by: its postings.

A posting says: at this leaf, a record plays this role for this thing. It is one integer of 63 bits,
relative to a *part* of the log (2**18 leaves):

    41 bits of SHA-256(type, id, origin) of the thing | 4 bits of role | 18 bits of leaf index

So all roles of one thing lie side by side, and within a role the leaves are in order. Parts keep
what an insertion touches small, however long the log is; a lookup looks into each of them. Hashes
may collide, by chance or on purpose, so a posting is a candidate: the record decides.
"""

from enum import IntEnum
from hashlib import sha256
from typing import Final

PART_BITS: Final = 18
"""Bits of the leaf index inside a part. 2**18 leaves have about 10 MB of postings: they stay in
the page cache while they are inserted, which costs a third of what one big table does."""

PART: Final = 1 << PART_BITS
"""Leaves in a part."""

ROLE_BITS: Final = 4
HASH_BITS: Final = 63 - ROLE_BITS - PART_BITS

LOCAL_MASK: Final = PART - 1
"""The bits of a posting that are the leaf index within the part."""

THING_SHIFT: Final = ROLE_BITS + PART_BITS
"""A posting shifted right by this is the hash of its thing."""

KINDS: Final = ("approval", "decision", "edge", "erasure", "outcome", "revocation", "verification")
"""The kinds of record; each is the type of the thing that a record of the kind itself is."""


class Role(IntEnum):
    """What a record is to a thing. The order counts: see `BEFORE_TO`."""

    ID = 0
    """It is the record of this kind with this id."""

    DECISION_OF = 1
    """It is a decision that authorises this run."""

    OUTCOME = 2
    """It is the outcome of this run."""

    VERIFICATION = 3
    """It is a verification of this run."""

    FROM = 4
    """It is an edge that begins at this thing."""

    REVOKED = 5
    """It revokes this decision, run, key, or all keys of this key name."""

    SIGNED = 6
    """It is a manifest that this key signed, or a decision that has this key's signature, or rests
    on an approval by it."""

    ERASED = 7
    """It says that the addendum of this digest was erased."""

    TO = 15
    """It is an edge that ends at this thing."""


BEFORE_TO: Final = (Role.ID, Role.REVOKED)
"""The roles that a walk towards the origin wants to know of a thing. `TO` is none of them: an agent
that is busy has few postings in these and a million in that one."""


def thing_hash(type_: str, id_: str, origin: str | None = None) -> int:
    """The hash of a thing, HASH_BITS bits; its origin is None when it is of the indexed log.

    `type_` is a `ThingType`, a kind of record, ``key`` or ``key_name`` for what is revoked, or
    ``addendum`` for what is erased.
    """
    digest = sha256(spell(type_, id_, origin)).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - HASH_BITS)


def posting(thing: int, role: Role, index: int) -> int:
    """The posting of a thing's hash, a role and a leaf, within the leaf's part."""
    return thing << THING_SHIFT | role << PART_BITS | index & LOCAL_MASK


def spell(type_: str, id_: str, origin: str | None) -> bytes:
    """What is hashed of a thing, see `thing_hash`."""
    # No valid id or name has a NUL, so that no two things are spelled alike. A lookup may ask for
    # any text, a lone surrogate included; nothing is found by that.
    text = f"{type_}\0{id_}" if origin is None else f"{type_}\0{id_}\0{origin}"
    return text.encode("utf-8", "surrogatepass")
