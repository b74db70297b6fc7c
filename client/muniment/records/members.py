"""The scalar members of records: each with its grammar, unit and bound.

A pattern here is anchored at both ends and is checked whenever a record is decoded.
"""

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta

from muniment.records.canonical import MAX_SAFE_INTEGER

MAX_ID: Final = 128
"""Longest record or run id, in characters; a UUID takes 36, a prefixed SHA-256 in hex 71."""

MAX_NAME: Final = 2048
"""Longest name of an agent, artifact, policy or grant, in characters: what a SPIFFE ID may be."""

MAX_KEY_NAME: Final = 255
"""Longest key name in a record, in characters; key names are host and path, as short URLs."""

MAX_LABEL: Final = 256
"""Longest short text (label values, revisions, action names), in characters."""

MAX_ITEMS: Final = 256
"""Most items in a list or map that we define; the record's size bounds what others define."""

MAX_ERASED: Final = 500
"""Most digests in one erasure: 34 KB of a record."""

MAX_REASON: Final = 1024
"""Longest reason of a revocation or an erasure, in characters."""

MAX_SIGNATURES: Final = 16
"""Most authority signatures on a decision; bounds what verifying one record costs."""

Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
"""A record or run id: 1 to MAX_ID visible ASCII characters (U+0021 to U+007E).

The type bounds the length; `recordcheck` checks the characters, as a pattern here would cost a
tenth of what checking a whole decision does."""

Name: TypeAlias = Annotated[str, Meta(max_length=MAX_NAME, pattern=r"^[!-~]+\Z")]
"""The name of a thing: 1 to MAX_NAME visible ASCII characters."""

ShortName: TypeAlias = Annotated[str, Meta(max_length=MAX_ID, pattern=r"^[!-~]+\Z")]
"""The name of a measurement, check, label or digest: 1 to MAX_ID visible ASCII characters."""

Label: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_LABEL)]
"""A short text of 1 to MAX_LABEL characters."""

KeyName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_KEY_NAME)]
"""A signed-note key name of at most MAX_KEY_NAME characters: no space, no plus, no control."""

KeyReference: TypeAlias = Annotated[
    str, Meta(max_length=MAX_KEY_NAME + 9, pattern=r"^[^\s+\x00-\x1f]+\+[0-9a-f]{8}\Z")
]
"""Names a key as the first two parts of its vkey do: ``<key name>+<key ID, 8 hex digits>``."""

Digest: TypeAlias = Annotated[
    str,
    Meta(pattern=r"^(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})\Z"),
]
"""A digest of the SHA-2 family: ``sha256:`` and 64 lower-case hexadecimal digits; so ``sha384:``
with 96 and ``sha512:`` with 128."""

Pointer: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
"""A JSON pointer (RFC 6901) into the record, 1 to MAX_NAME characters; `addenda` checks more."""

AddendumDigest: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""The SHA-256 of an addendum in lower-case hexadecimal digits."""

Reason: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_REASON)]
"""Why, in 1 to MAX_REASON characters."""

RevokedKey: TypeAlias = Annotated[
    str,
    Meta(
        max_length=MAX_KEY_NAME + 9,
        pattern=(
            r"^(?:[^\s+\x00-\x1f]+\+[0-9a-f]{8}"
            r"|sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})\Z"
        ),
    ),
]
"""A key by reference (see `KeyReference`), or a runtime's key by its thumbprint (see `Digest`)."""

SpiffeId: TypeAlias = Annotated[
    str,
    Meta(
        max_length=MAX_NAME,
        pattern=r"^spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)*\Z",
    ),
]
"""A SPIFFE ID (SPIFFE-ID section 2): trust domain, and a path without empty or dot segments."""

Traceparent: TypeAlias = Annotated[
    str, Meta(pattern=r"^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
]
"""A W3C Trace Context ``traceparent`` of version 00: for correlation, never as proof."""

LeafHash: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=\Z")]
"""An RFC 6962 leaf hash: 32 bytes in canonical base64, as in C2SP proofs."""

SignatureText: TypeAlias = Annotated[str, Meta(max_length=8192, pattern=r"^[A-Za-z0-9+/]+={0,2}\Z")]
"""A signature in base64; 8,192 characters hold any that NIST has standardised at our level."""

Milliseconds: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]
"""A point in time in Unix milliseconds."""

Seconds: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]
"""A point in time in Unix seconds."""

LeafIndex: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]
"""A leaf's index in a log, from 0."""

DenialCode: TypeAlias = Literal[
    "authorization_discontinuity",
    "invalid_signature",
    "runtime_identity_mismatch",
    "policy_mismatch",
    "environment_integrity_failure",
    "governance_mesh_discontinuity",
    "lineage_fragmentation",
    "revoked_authorization",
    "denied_by_policy",
    "could_not_evaluate",
]
"""Why an authorization is denied: the eight failures of proof, a policy's plain no, and a policy
engine that failed, gave no answer in time, or none that is one."""
