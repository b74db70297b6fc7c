"""Records: everything a caller needs, in one place.

- `kinds` and `artifact`: the typed records; `members`: the grammar and bounds of their members;
- `recordcodec`: reading, writing, and the fast check of batches; `recordcheck`: the rules;
- `submission`: plain JSON and AuthZEN evaluations made into records;
- `authority`: signatures by authorities.
"""

from muniment.records.approval import (
    SignedApproval,
    approver_vkey,
    call_digest,
    sign_approval,
    verify_approval,
)
from muniment.records.artifact import (
    Actor,
    Artifact,
    Attribution,
    Binding,
    PolicyRef,
    ResourceScope,
    Scope,
    Validity,
)
from muniment.records.authority import (
    authority_vkey,
    key_reference,
    sign_decision,
    signing_input,
    verify_signatures,
)
from muniment.records.check import ENDPOINTS
from muniment.records.codec import RecordError, check_records, encode_record, parse_record
from muniment.records.kinds import (
    Approval,
    Check,
    CheckState,
    Decision,
    Denial,
    Edge,
    Entity,
    Erasure,
    Outcome,
    Record,
    Relation,
    Revocation,
    RunStatus,
    Signature,
    Target,
    Thing,
    ThingType,
    Verification,
)
from muniment.records.members import DenialCode
from muniment.records.submission import complete_record, decision_of_evaluation

__all__ = [
    "ENDPOINTS",
    "Actor",
    "Approval",
    "Artifact",
    "Attribution",
    "Binding",
    "Check",
    "CheckState",
    "Decision",
    "Denial",
    "DenialCode",
    "Edge",
    "Entity",
    "Erasure",
    "Outcome",
    "PolicyRef",
    "Record",
    "RecordError",
    "Relation",
    "ResourceScope",
    "Revocation",
    "RunStatus",
    "Scope",
    "Signature",
    "SignedApproval",
    "Target",
    "Thing",
    "ThingType",
    "Validity",
    "Verification",
    "approver_vkey",
    "authority_vkey",
    "call_digest",
    "check_records",
    "complete_record",
    "decision_of_evaluation",
    "encode_record",
    "key_reference",
    "parse_record",
    "sign_approval",
    "sign_decision",
    "signing_input",
    "verify_approval",
    "verify_signatures",
]
