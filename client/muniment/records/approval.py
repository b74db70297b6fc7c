r"""A person's word on one call: what is signed, and which call it is about.

A gateway holds a call until a person decides. The person's tool signs, with an Ed25519 key of the
person's own, a domain line and the canonical JSON of the approval without its `signature`::

    muniment/approval/v1\n<canonical JSON>

No signed note and no decision's signature begins so. The call is named by a digest of what the
record of its decision says: who wants to do what to what, in which context. Withheld members are in
it as the digests of their addenda, so that whoever has the record can compute it, and nobody learns
from it what the arguments were.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Annotated, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta, Struct, to_builtins
from msgspec.structs import replace

from muniment.records.canonical import encode_canonical
from muniment.records.members import (
    Digest,
    Id,
    KeyName,
    KeyReference,
    Label,
    Reason,
    Seconds,
    SignatureText,
)
from muniment.tlog.encoding import VerificationError, format_base64, parse_base64
from muniment.tlog.keys.ed25519 import ed25519_check, ed25519_sign
from muniment.tlog.note import ED25519, VKey

UNBOUND: Final = frozenset({"approval", "ids", "muniment", "time"})
"""Members of a request's context that are not part of the call: they differ from one asking to the
next, and say nothing of what is done."""

_DOMAIN: Final = b"muniment/approval/v1\n"
_CALL: Final = b"muniment/call/v1\n"
_UNSIGNED: Final = format_base64(bytes(64))


class SignedApproval(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What a person has said of one call, and signed.

    Attributes:
        id: Which approval it is, made by the person's tool; also the id of its record.
        request: The access request that it answers, as the gateway calls it.
        gateway: The key name of the gateway that asked.
        call: Which call, see `call_digest`.
        decision: Whether it may run.
        approver: The person, as AuthZEN subjects are called.
        at: When it was signed, Unix seconds by the person's clock.
        not_after: Until when the call may be decided on by it: ``at <= now < not_after``.
        reason: Why.
        key: The person's key: ``<key name>+<key ID, 8 hex digits>``.
        signature: By that key, canonical base64.
    """

    id: Id
    request: Id
    gateway: KeyName
    call: Digest
    decision: bool
    approver: Label
    at: Seconds
    not_after: Annotated[int, Meta(ge=1)]
    reason: Reason | None = None
    key: KeyReference
    signature: SignatureText

    def covers(self, now: int) -> bool:
        """Tells whether a call may be decided on by it at a time in Unix seconds."""
        return self.at <= now < self.not_after


def approver_vkey(name: str, private: Ed25519PrivateKey) -> VKey:
    """The vkey of a person's key; FormatError if the name is no key name."""
    return VKey.of(name, ED25519, private.public_key().public_bytes_raw())


def sign_approval(
    *,
    id_: str,
    request: str,
    gateway: str,
    call: str,
    decision: bool,
    approver: str,
    at: int,
    not_after: int,
    name: str,
    private: Ed25519PrivateKey,
    reason: str | None = None,
) -> SignedApproval:
    """Signs what a person says of a call; `name` is the name of the key. See `SignedApproval`.

    Raises FormatError if the name is no key name.
    """
    vkey = approver_vkey(name, private)
    unsigned = SignedApproval(
        id=id_,
        request=request,
        gateway=gateway,
        call=call,
        decision=decision,
        approver=approver,
        at=at,
        not_after=not_after,
        reason=reason,
        key=f"{vkey.name}+{vkey.key_id:08x}",
        signature=_UNSIGNED,
    )
    return replace(unsigned, signature=format_base64(ed25519_sign(private)(_signed(unsigned))))


def verify_approval(approval: SignedApproval, vkeys: Iterable[VKey]) -> VKey | None:
    """The key that signed an approval, of those that are known; None if it is by another one.

    Raises VerificationError if it is said to be by a known key and its signature does not verify.
    """
    for vkey in vkeys:
        if f"{vkey.name}+{vkey.key_id:08x}" != approval.key or vkey.algorithm != ED25519:
            continue
        signature = parse_base64(approval.signature, f"signature of {approval.key}")
        if not ed25519_check(vkey.public)(_signed(approval), signature):
            raise VerificationError(f"{approval.key}: the approver's signature does not verify")
        return vkey
    return None


def call_digest(request: Mapping[str, Any], addenda: Mapping[str, str] | None = None) -> str:
    """Names a call by the request of its decision, and by what that withholds.

    The SHA-256 of a domain line and the canonical JSON of the request, without the UNBOUND members
    of its context, beside the digests of the addenda that stand for its withheld members, by JSON
    pointer. Raises FormatError if the request has no canonical JSON.
    """
    context = request.get("context")
    bound = {name: value for name, value in request.items() if name != "context"}
    if isinstance(context, Mapping):
        kept = {name: value for name, value in context.items() if name not in UNBOUND}
        if kept:
            bound["context"] = kept
    withheld = {
        pointer: digest for pointer, digest in (addenda or {}).items() if _is_bound(pointer)
    }
    named = {"request": bound, "withheld": withheld}
    return f"sha256:{sha256(_CALL + encode_canonical(named)).hexdigest()}"


def is_own(approval: SignedApproval, request: Mapping[str, Any]) -> bool:
    """Whether an approval is by whoever wants the call: the subject, or the user it runs for."""
    context = request.get("context")
    ids = context.get("ids") if isinstance(context, Mapping) else None
    user = ids.get("user") if isinstance(ids, Mapping) else None
    # A user may be any JSON: it is compared, and never hashed.
    names = (approval.approver, approval.key.partition("+")[0])
    return any(one in names for one in (request["subject"]["id"], user))


def _is_bound(pointer: str) -> bool:
    parts = pointer.split("/")
    if parts[1:2] != ["request"]:
        return False
    return not (parts[2:3] == ["context"] and len(parts) > 3 and parts[3] in UNBOUND)


def _signed(approval: SignedApproval) -> bytes:
    members = to_builtins(approval)
    del members["signature"]
    return _DOMAIN + encode_canonical(members)
