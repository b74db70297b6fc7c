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
    from muniment.gateway.gateway import (
        Gateway,
    )
    from muniment.gateway.governed import (
        Call,
        governed,
    )
    from muniment.gateway.guard import (
        Guard,
    )
    from muniment.gateway.receipts import (
        BatchReceipt,
        Published,
        Receipt,
    )
    from muniment.gateway.runs import (
        carry_run,
        current_run,
        run_edges,
        running,
    )
    from muniment.gateway.spool import (
        Spool,
    )
    from muniment.http.access import (
        Access,
    )
    from muniment.http.logclient import (
        LogClient,
    )
    from muniment.local.keyfiles import (
        read_key_file,
    )
    from muniment.permit import (
        Context,
        ExpectedPolicy,
        Permit,
        Trust,
        parse_permit,
        verify_permit,
    )
    from muniment.records.api import (
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
    from muniment.tlog.cosignature import (
        signer_for,
    )
    from muniment.tlog.encoding import (
        FormatError,
        MunimentError,
        VerificationError,
    )
    from muniment.tlog.note import (
        VKey,
        parse_vkey,
    )
    from muniment.tlog.policy import (
        CosignedCheckpoint,
        Policy,
        parse_policy,
    )
    from muniment.tlog.tlogproof import (
        TlogProof,
        parse_tlog_proof,
        verify_tlog_proof,
    )

_MODULES: Final = {
    "Access": "muniment.http.access",
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
    "signer_for": "muniment.tlog.cosignature",
    "FormatError": "muniment.tlog.encoding",
    "MunimentError": "muniment.tlog.encoding",
    "VerificationError": "muniment.tlog.encoding",
    "VKey": "muniment.tlog.note",
    "parse_vkey": "muniment.tlog.note",
    "CosignedCheckpoint": "muniment.tlog.policy",
    "Policy": "muniment.tlog.policy",
    "parse_policy": "muniment.tlog.policy",
    "Actor": "muniment.records.api",
    "Artifact": "muniment.records.api",
    "Attribution": "muniment.records.api",
    "Binding": "muniment.records.api",
    "Decision": "muniment.records.api",
    "Denial": "muniment.records.api",
    "Edge": "muniment.records.api",
    "Entity": "muniment.records.api",
    "Outcome": "muniment.records.api",
    "PolicyRef": "muniment.records.api",
    "Record": "muniment.records.api",
    "ResourceScope": "muniment.records.api",
    "Revocation": "muniment.records.api",
    "Scope": "muniment.records.api",
    "Target": "muniment.records.api",
    "Thing": "muniment.records.api",
    "Validity": "muniment.records.api",
    "Verification": "muniment.records.api",
    "encode_record": "muniment.records.api",
    "parse_record": "muniment.records.api",
    "sign_decision": "muniment.records.api",
    "TlogProof": "muniment.tlog.tlogproof",
    "parse_tlog_proof": "muniment.tlog.tlogproof",
    "verify_tlog_proof": "muniment.tlog.tlogproof",
    "Gateway": "muniment.gateway.gateway",
    "Call": "muniment.gateway.governed",
    "governed": "muniment.gateway.governed",
    "Guard": "muniment.gateway.guard",
    "read_key_file": "muniment.local.keyfiles",
    "LogClient": "muniment.http.logclient",
    "Context": "muniment.permit",
    "ExpectedPolicy": "muniment.permit",
    "Permit": "muniment.permit",
    "Trust": "muniment.permit",
    "parse_permit": "muniment.permit",
    "verify_permit": "muniment.permit",
    "BatchReceipt": "muniment.gateway.receipts",
    "Published": "muniment.gateway.receipts",
    "Receipt": "muniment.gateway.receipts",
    "carry_run": "muniment.gateway.runs",
    "current_run": "muniment.gateway.runs",
    "run_edges": "muniment.gateway.runs",
    "running": "muniment.gateway.runs",
    "Spool": "muniment.gateway.spool",
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
    if name == "blocking":  # a module: it has a Gateway of its own
        return importlib.import_module("muniment.gateway.blocking")
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'muniment' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
