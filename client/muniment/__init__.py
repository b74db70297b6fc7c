"""Everything a relying party of a Muniment log needs: gateway, audit, records, proofs, policies.

Names are imported when they are first used, so that ``import muniment`` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from muniment.access import (
        Access,
    )
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
        Denied,
        GatewayClosed,
        InputError,
        NotPublished,
        Problem,
        RecordRefused,
        Refused,
        SpoolFull,
        StreamConflict,
        StreamError,
        StreamGap,
        Undelivered,
        Unreachable,
        WrongLoop,
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
        Actor,
        Artifact,
        Attribution,
        Binding,
        Decision,
        Denial,
        Edge,
        Entity,
        Outcome,
        PolicyRef,
        Record,
        ResourceScope,
        Revocation,
        Scope,
        Target,
        Thing,
        Validity,
        Verification,
        encode_record,
        parse_record,
        sign_decision,
    )
    from muniment.formats.tlogproof import (
        TlogProof,
        parse_tlog_proof,
        verify_tlog_proof,
    )
    from muniment.gateway import (
        Gateway,
    )
    from muniment.governed import (
        Call,
        governed,
    )
    from muniment.guard import (
        Guard,
    )
    from muniment.keyfiles import (
        read_key_file,
    )
    from muniment.logclient import (
        LogClient,
    )
    from muniment.permit import (
        Context,
        ExpectedPolicy,
        Permit,
        Trust,
        parse_permit,
        verify_permit,
    )
    from muniment.receipts import (
        BatchReceipt,
        Published,
        Receipt,
    )
    from muniment.runs import (
        carry_run,
        current_run,
        run_edges,
        running,
    )
    from muniment.spool import (
        Spool,
    )

_MODULES: Final = {
    "Access": "muniment.access",
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
    "Denied": "muniment.errors",
    "GatewayClosed": "muniment.errors",
    "InputError": "muniment.errors",
    "NotPublished": "muniment.errors",
    "Problem": "muniment.errors",
    "RecordRefused": "muniment.errors",
    "Refused": "muniment.errors",
    "SpoolFull": "muniment.errors",
    "StreamConflict": "muniment.errors",
    "StreamError": "muniment.errors",
    "StreamGap": "muniment.errors",
    "Undelivered": "muniment.errors",
    "Unreachable": "muniment.errors",
    "WrongLoop": "muniment.errors",
    "signer_for": "muniment.formats.cosignature",
    "FormatError": "muniment.formats.encoding",
    "MunimentError": "muniment.formats.encoding",
    "VerificationError": "muniment.formats.encoding",
    "VKey": "muniment.formats.note",
    "parse_vkey": "muniment.formats.note",
    "CosignedCheckpoint": "muniment.formats.policy",
    "Policy": "muniment.formats.policy",
    "parse_policy": "muniment.formats.policy",
    "Actor": "muniment.formats.records",
    "Artifact": "muniment.formats.records",
    "Attribution": "muniment.formats.records",
    "Binding": "muniment.formats.records",
    "Decision": "muniment.formats.records",
    "Denial": "muniment.formats.records",
    "Edge": "muniment.formats.records",
    "Entity": "muniment.formats.records",
    "Outcome": "muniment.formats.records",
    "PolicyRef": "muniment.formats.records",
    "Record": "muniment.formats.records",
    "ResourceScope": "muniment.formats.records",
    "Revocation": "muniment.formats.records",
    "Scope": "muniment.formats.records",
    "Target": "muniment.formats.records",
    "Thing": "muniment.formats.records",
    "Validity": "muniment.formats.records",
    "Verification": "muniment.formats.records",
    "encode_record": "muniment.formats.records",
    "parse_record": "muniment.formats.records",
    "sign_decision": "muniment.formats.records",
    "TlogProof": "muniment.formats.tlogproof",
    "parse_tlog_proof": "muniment.formats.tlogproof",
    "verify_tlog_proof": "muniment.formats.tlogproof",
    "Gateway": "muniment.gateway",
    "Call": "muniment.governed",
    "governed": "muniment.governed",
    "Guard": "muniment.guard",
    "read_key_file": "muniment.keyfiles",
    "LogClient": "muniment.logclient",
    "Context": "muniment.permit",
    "ExpectedPolicy": "muniment.permit",
    "Permit": "muniment.permit",
    "Trust": "muniment.permit",
    "parse_permit": "muniment.permit",
    "verify_permit": "muniment.permit",
    "BatchReceipt": "muniment.receipts",
    "Published": "muniment.receipts",
    "Receipt": "muniment.receipts",
    "carry_run": "muniment.runs",
    "current_run": "muniment.runs",
    "run_edges": "muniment.runs",
    "running": "muniment.runs",
    "Spool": "muniment.spool",
}

__all__ = [
    "Access",
    "Actor",
    "Artifact",
    "Attribution",
    "AuditOptions",
    "AuditOutcome",
    "AuditState",
    "BadAnswer",
    "BatchReceipt",
    "Binding",
    "Call",
    "Context",
    "CosignedCheckpoint",
    "Decision",
    "Denial",
    "Denied",
    "Edge",
    "Entity",
    "ExpectedPolicy",
    "Finding",
    "FormatError",
    "Gateway",
    "GatewayClosed",
    "Guard",
    "InputError",
    "LogClient",
    "Misbehaviour",
    "MunimentError",
    "NotPublished",
    "Outcome",
    "Permit",
    "Policy",
    "PolicyRef",
    "Problem",
    "ProvenMisbehaviour",
    "Published",
    "Receipt",
    "Record",
    "RecordRefused",
    "Refused",
    "Report",
    "ResourceScope",
    "Revocation",
    "Scope",
    "Spool",
    "SpoolFull",
    "StaleCheckpoint",
    "StreamConflict",
    "StreamError",
    "StreamGap",
    "Target",
    "Thing",
    "TlogProof",
    "Trust",
    "TrustState",
    "Undelivered",
    "Unreachable",
    "VKey",
    "Validity",
    "Verdict",
    "Verification",
    "VerificationError",
    "WrongLoop",
    "audit_log",
    "carry_run",
    "current_run",
    "encode_record",
    "governed",
    "load_state",
    "parse_permit",
    "parse_policy",
    "parse_record",
    "parse_tlog_proof",
    "parse_vkey",
    "read_key_file",
    "run_edges",
    "running",
    "save_state",
    "sign_decision",
    "signer_for",
    "verify_permit",
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
