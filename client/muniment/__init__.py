"""Everything a relying party of a Muniment log needs: gateway, audit, records, proofs, policies.

Names are imported when they are first used, so that ``import muniment`` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from muniment.audit.auditor import (
        AuditOptions,
        AuditOutcome,
        audit_log,
    )
    from muniment.audit.report import (
        Finding,
        Report,
        Verdict,
    )
    from muniment.audit.statefile import (
        AuditState,
        load_state,
        save_state,
    )
    from muniment.audit.trust import (
        Misbehaviour,
        ProvenMisbehaviour,
        StaleCheckpoint,
        TrustState,
    )
    from muniment.errors import (
        BadAnswer,
        GatewayClosed,
        InputError,
        NotPublished,
        Problem,
        RecordRefused,
        Refused,
        StreamConflict,
        StreamError,
        StreamGap,
        Undelivered,
        Unreachable,
    )
    from muniment.formats.cosignature import (
        signer_for,
    )
    from muniment.formats.encoding import (
        FormatError,
        MunimentError,
        VerificationError,
    )
    from muniment.formats.note import (
        VKey,
        parse_vkey,
    )
    from muniment.formats.policy import (
        CosignedCheckpoint,
        Policy,
        parse_policy,
    )
    from muniment.formats.records import (
        Decision,
        Denial,
        Edge,
        Outcome,
        Record,
        Revocation,
        Verification,
        encode_record,
        parse_record,
    )
    from muniment.formats.tlogproof import (
        TlogProof,
        parse_tlog_proof,
        verify_tlog_proof,
    )
    from muniment.gateway import (
        Gateway,
    )
    from muniment.keyfiles import (
        read_key_file,
    )
    from muniment.logclient import (
        LogClient,
    )
    from muniment.receipts import (
        BatchReceipt,
        Published,
        Receipt,
    )

_MODULES: Final = {
    "AuditOptions": "muniment.audit.auditor",
    "AuditOutcome": "muniment.audit.auditor",
    "audit_log": "muniment.audit.auditor",
    "Finding": "muniment.audit.report",
    "Report": "muniment.audit.report",
    "Verdict": "muniment.audit.report",
    "AuditState": "muniment.audit.statefile",
    "load_state": "muniment.audit.statefile",
    "save_state": "muniment.audit.statefile",
    "Misbehaviour": "muniment.audit.trust",
    "ProvenMisbehaviour": "muniment.audit.trust",
    "StaleCheckpoint": "muniment.audit.trust",
    "TrustState": "muniment.audit.trust",
    "BadAnswer": "muniment.errors",
    "GatewayClosed": "muniment.errors",
    "InputError": "muniment.errors",
    "NotPublished": "muniment.errors",
    "Problem": "muniment.errors",
    "RecordRefused": "muniment.errors",
    "Refused": "muniment.errors",
    "StreamConflict": "muniment.errors",
    "StreamError": "muniment.errors",
    "StreamGap": "muniment.errors",
    "Undelivered": "muniment.errors",
    "Unreachable": "muniment.errors",
    "signer_for": "muniment.formats.cosignature",
    "FormatError": "muniment.formats.encoding",
    "MunimentError": "muniment.formats.encoding",
    "VerificationError": "muniment.formats.encoding",
    "VKey": "muniment.formats.note",
    "parse_vkey": "muniment.formats.note",
    "CosignedCheckpoint": "muniment.formats.policy",
    "Policy": "muniment.formats.policy",
    "parse_policy": "muniment.formats.policy",
    "Decision": "muniment.formats.records",
    "Denial": "muniment.formats.records",
    "Edge": "muniment.formats.records",
    "Outcome": "muniment.formats.records",
    "Record": "muniment.formats.records",
    "Revocation": "muniment.formats.records",
    "Verification": "muniment.formats.records",
    "encode_record": "muniment.formats.records",
    "parse_record": "muniment.formats.records",
    "TlogProof": "muniment.formats.tlogproof",
    "parse_tlog_proof": "muniment.formats.tlogproof",
    "verify_tlog_proof": "muniment.formats.tlogproof",
    "Gateway": "muniment.gateway",
    "read_key_file": "muniment.keyfiles",
    "LogClient": "muniment.logclient",
    "BatchReceipt": "muniment.receipts",
    "Published": "muniment.receipts",
    "Receipt": "muniment.receipts",
}

__all__ = [
    "AuditOptions",
    "AuditOutcome",
    "AuditState",
    "BadAnswer",
    "BatchReceipt",
    "CosignedCheckpoint",
    "Decision",
    "Denial",
    "Edge",
    "Finding",
    "FormatError",
    "Gateway",
    "GatewayClosed",
    "InputError",
    "LogClient",
    "Misbehaviour",
    "MunimentError",
    "NotPublished",
    "Outcome",
    "Policy",
    "Problem",
    "ProvenMisbehaviour",
    "Published",
    "Receipt",
    "Record",
    "RecordRefused",
    "Refused",
    "Report",
    "Revocation",
    "StaleCheckpoint",
    "StreamConflict",
    "StreamError",
    "StreamGap",
    "TlogProof",
    "TrustState",
    "Undelivered",
    "Unreachable",
    "VKey",
    "Verdict",
    "Verification",
    "VerificationError",
    "audit_log",
    "encode_record",
    "load_state",
    "parse_policy",
    "parse_record",
    "parse_tlog_proof",
    "parse_vkey",
    "read_key_file",
    "save_state",
    "signer_for",
    "verify_tlog_proof",
]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'muniment' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
