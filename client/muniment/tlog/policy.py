"""C2SP tlog-policy: which logs are trusted, and which witnesses make a quorum.

A policy file is one policy (`policytext`), or a chain of versions of it (`policychain`). Both are
a `Policy`, whose `verify` makes a `CosignedCheckpoint`: the type of what may be believed.
"""

from muniment.tlog.encoding import FormatError
from muniment.tlog.policychain import PolicyChain
from muniment.tlog.policyjudge import CosignedCheckpoint, Policy
from muniment.tlog.policyrules import (
    MAX_GROUPS,
    MAX_LOGS,
    MAX_WITNESSES,
    PolicyGroup,
    PolicyLog,
    PolicyWitness,
    show,
)
from muniment.tlog.policytext import MAX_POLICY_SIZE, format_policy_text, parse_policy_text
from muniment.tlog.policyversion import format_chain, is_chain, parse_chain

__all__ = [
    "MAX_GROUPS",
    "MAX_LOGS",
    "MAX_POLICY_SIZE",
    "MAX_WITNESSES",
    "CosignedCheckpoint",
    "Policy",
    "PolicyChain",
    "PolicyGroup",
    "PolicyLog",
    "PolicyWitness",
    "format_policy",
    "parse_policy",
    "show",
]


def parse_policy(data: bytes, *, now: int | None = None) -> Policy:
    """Parses a policy file of at most MAX_POLICY_SIZE bytes: a tlog-policy, or a policy chain.

    `now`, in Unix seconds, chooses whose logs and witnesses a chain names; see `PolicyChain`.
    Names and URLs are decoded as UTF-8 with surrogateescape: the file is octets, whose meaning must
    not depend on Unicode, and so each sequence of octets is exactly one string. Raises FormatError
    if the data breaks a rule of the spec, naming the line, 1-based; or of policy chains, also a
    signature that does not hold, naming the version.
    """
    if not is_chain(data):
        return parse_policy_text(data)
    if len(data) > MAX_POLICY_SIZE:
        raise FormatError(f"policy: more than {MAX_POLICY_SIZE} bytes")
    return PolicyChain.of(parse_chain(data), now=now)


def format_policy(policy: Policy) -> bytes:
    """Writes a policy file without comments, which `parse_policy` reads as an equal policy."""
    if isinstance(policy, PolicyChain):
        return format_chain(policy.chain)
    return format_policy_text(policy)
