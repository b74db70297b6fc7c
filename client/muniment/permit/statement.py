"""The checks of what a decision states against what the runtime knows.

Each check yields what failed, and nothing when it holds. None of them needs the log.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from msgspec import UNSET

from muniment.lineage.escape import terminal
from muniment.permit.context import Context, Trust
from muniment.permit.permitfile import Permit
from muniment.permit.verdict import Finding
from muniment.records.addenda import ARGUMENTS, escape_token
from muniment.records.artifact import Artifact
from muniment.records.canonical import encode_canonical, parse_json
from muniment.records.commitments import MAX_ADDENDUM
from muniment.records.kinds import Decision, Entity
from muniment.records.members import DenialCode

_UNPROVEN: Final[Mapping[DenialCode, str]] = {
    "denied_by_policy": "a plain no of the policy",
    "could_not_evaluate": "for the policy engine gave no answer",
}
"""Denials that are no failure of a proof, in words."""


def check_authorization(decision: Decision, context: Context, trust: Trust) -> Iterator[Finding]:
    """Checks that it allows this action on this resource, in this run, at this time."""
    artifact = decision.artifact
    if not decision.allowed:
        yield from _denied(decision)
    if artifact is None and trust.require_artifact:
        yield _discontinuity("artifact", "an authorization artifact", "none")
    wanted = (context.action, *context.resource)
    requested = (decision.action, *decision.resource)
    if artifact is not None and not artifact.scope.allows(*wanted):
        yield _discontinuity("scope", _scope(artifact), _deed(*wanted))
    if (artifact is None or trust.exact_request) and wanted != requested:
        yield _discontinuity("request", _deed(*requested), _deed(*wanted))
    if context.subject is not None and context.subject != decision.subject:
        yield _discontinuity(
            "subject", f"subject {_entity(decision.subject)}", _entity(context.subject)
        )
    if decision.execution is None:
        if trust.require_execution:
            yield _discontinuity("execution", "a decision that states its run", "none")
    elif context.execution != decision.execution:
        yield _discontinuity("execution", f"run {decision.execution}", _or_none(context.execution))
    if artifact is not None:
        period = artifact.validity
        if not period.not_before - trust.not_before_leeway <= context.now < period.not_after:
            yield _discontinuity(
                "validity",
                f"a time in [{period.not_before}, {period.not_after})",
                str(context.now),
            )


def check_identity(artifact: Artifact | None, context: Context, trust: Trust) -> Iterator[Finding]:
    """Checks that this is the runtime that may execute."""
    binding = artifact.binding if artifact is not None else None
    if binding is None:
        if trust.require_binding:
            yield Finding("runtime_identity_mismatch", "binding", "a runtime binding", "none")
        return
    for check, bound, own in (
        ("spiffe_id", binding.spiffe_id, context.spiffe_id),
        ("thumbprint", binding.thumbprint, context.thumbprint),
    ):
        if bound is not None and bound != own:
            yield Finding("runtime_identity_mismatch", check, bound, _or_none(own))


def check_policy(artifact: Artifact | None, context: Context, trust: Trust) -> Iterator[Finding]:
    """Checks that it was decided by the policy that should have decided."""
    expected = context.policy
    stated = artifact.policy if artifact is not None else None
    if expected is None or (expected.id, expected.revision, expected.digest) == (None, None, None):
        if trust.require_policy:
            shown = "none" if stated is None else f"{stated.id}, and no expectation to compare with"
            yield Finding("policy_mismatch", "policy", "a policy that the runtime expects", shown)
        return
    for part in ("id", "revision", "digest"):
        wanted = getattr(expected, part)
        found = None if stated is None else getattr(stated, part)
        if wanted is not None and wanted != found:
            yield Finding("policy_mismatch", f"policy {part}", terminal(wanted), _or_none(found))


def check_environment(
    artifact: Artifact | None, context: Context, trust: Trust
) -> Iterator[Finding]:
    """Checks that the environment measures as required."""
    required = artifact.environment if artifact is not None else None
    if required is None:
        if trust.require_environment:
            yield Finding(
                "environment_integrity_failure", "environment", "required measurements", "none"
            )
        return
    for name, digest in required.items():
        found = context.measurements.get(name)
        if found != digest:
            yield Finding(
                "environment_integrity_failure", f"measurement {name}", digest, _or_none(found)
            )


def check_governance(
    artifact: Artifact | None, context: Context, trust: Trust
) -> Iterator[Finding]:
    """Checks that the decision is of the governance domain that the runtime is in."""
    stated = (artifact.governance if artifact is not None else None) or {}
    for name in sorted({*stated, *context.governance}):
        found, own = stated.get(name), context.governance.get(name)
        if found == own or (own is None and trust.allow_unknown_labels):
            continue
        yield Finding(
            "governance_mesh_discontinuity",
            f"label {terminal(name)}",
            _or_none(own),
            _or_none(found),
        )


def _denied(decision: Decision) -> Iterator[Finding]:
    """A decision of false: as what the policy engine said, or with the codes it gives."""
    codes = decision.denial.codes if decision.denial else ()
    if set(codes) <= _UNPROVEN.keys():
        for code in codes or ("denied_by_policy",):
            yield Finding(code, "decision", "true", f"false, {_UNPROVEN[code]}")
        return
    given = ", ".join(codes)
    yield _discontinuity("decision", "true", f"false, because of {given}")
    for code in codes:
        yield Finding(code, "decision", "true", f"false, because of {code}")


def _discontinuity(check: str, expected: str, found: str) -> Finding:
    return Finding("authorization_discontinuity", check, expected, found)


def _scope(artifact: Artifact) -> str:
    actions = ", ".join(map(terminal, artifact.scope.actions))
    resources = ", ".join(
        f"{terminal(one.type)} {'(any)' if one.id is None else terminal(one.id)}"
        for one in artifact.scope.resources
    )
    return f"one of the actions {actions} on one of {resources}"


def _deed(action: str, type_: str, id_: str) -> str:
    return f"{terminal(action)} on {_entity(Entity(type_, id_))}"


def _entity(entity: Entity) -> str:
    return f"{terminal(entity.type)} {terminal(entity.id)}"


def _or_none(text: str | None) -> str:
    return "none" if text is None else terminal(text)


_SHOWN: Final = 16
"""Most differences that a verdict names."""

_ABSENT: Final = object()


def check_arguments(permit: Permit, context: Context, trust: Trust) -> Iterator[Finding]:
    """Checks that the decision allows the call with these arguments."""
    if context.arguments is UNSET:
        if trust.require_arguments:
            yield _discontinuity("arguments", "arguments that the runtime states", "none")
        return
    hidden = [one for one in permit.withheld if _is_about_arguments(one)]
    for pointer in hidden[:_SHOWN]:
        yield _discontinuity(
            "arguments", f"{terminal(pointer)} disclosed, to compare it", "it withheld"
        )
    if hidden:
        return
    decision = permit.whole
    # What is still named is no JSON: without it a call would be another one, and none has it.
    opaque = [*filter(_is_about_arguments, (decision and decision.addenda) or ())]
    for pointer in opaque[:_SHOWN]:
        yield _discontinuity(
            "arguments", f"{terminal(pointer)} as JSON, to compare it", "content that is none"
        )
    if opaque:
        return
    stated: Any = None if decision is None else decision.request.get("context")
    if not isinstance(stated, dict) or "arguments" not in stated:
        yield _discontinuity("arguments", f"a decision that states {ARGUMENTS}", "none")
        return
    try:
        wanted = parse_json(encode_canonical(context.arguments), "arguments", most=MAX_ADDENDUM)
    except (TypeError, ValueError, RecursionError) as error:
        yield _discontinuity("arguments", "arguments that are JSON", terminal(str(error)))
        return
    for pointer in islice(_differences(wanted, stated["arguments"], ARGUMENTS), _SHOWN):
        yield _discontinuity(
            "arguments", f"{terminal(pointer)} as it was decided on", "something else"
        )


def _is_about_arguments(pointer: str) -> bool:
    """Whether a member is the arguments, is in them, or they are in it."""
    return f"{pointer}/".startswith(f"{ARGUMENTS}/") or f"{ARGUMENTS}/".startswith(f"{pointer}/")


def _differences(wanted: Any, stated: Any, at: str) -> Iterator[str]:
    """Pointers to the innermost members in which two values differ, absent ones included."""
    if isinstance(wanted, dict) and isinstance(stated, dict):
        for name in sorted(wanted.keys() | stated.keys()):
            one, other = wanted.get(name, _ABSENT), stated.get(name, _ABSENT)
            yield from _differences(one, other, f"{at}/{escape_token(name)}")
    elif isinstance(wanted, list) and isinstance(stated, list) and len(wanted) == len(stated):
        for number, (one, other) in enumerate(zip(wanted, stated, strict=True)):
            yield from _differences(one, other, f"{at}/{number}")
    elif not _is_same(wanted, stated):
        yield at


def _is_same(wanted: Any, stated: Any) -> bool:
    if wanted is _ABSENT or stated is _ABSENT:
        return False
    return encode_canonical(wanted) == encode_canonical(stated)  # 1 is not true, and 1.0 is 1
