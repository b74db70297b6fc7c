"""Denials on record: in the log as they are, reduced if they must be, and later if the log is away.

Who may choose what a call is about could otherwise try what is allowed and leave no trace: a file
name that is too long, a number that JSON readers would round.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from muniment.errors import Denied, MunimentError
from muniment.gateway.submissions import Passage
from muniment.gateway.withholding import Prepared, new_nonce
from muniment.records.addenda import Patterns
from muniment.records.codec import parse_record
from muniment.records.commitments import MAX_ADDENDUM, addendum, commitment_of
from muniment.records.kinds import Decision
from muniment.records.members import DenialCode
from muniment.records.preparation import RecordInput
from muniment.records.reduction import Commit, record_id, reduce_decision, stated_codes
from muniment.tlog.encoding import FormatError

if TYPE_CHECKING:
    from muniment.gateway.gateway import Gateway


async def record_denial(
    gateway: "Gateway",
    decision: Decision,
    prepared: Prepared,
    timeout: float | None = None,  # noqa: ASYNC109 - the batch must outlive the caller's deadline
) -> tuple[int | None, str]:
    """Logs a decision of false, or leaves that to the spool when the log does not have it.

    Returns:
        Its leaf index, if it is known; and else, in words, where it is.
    """
    passage = Passage()
    try:
        (receipt,) = await gateway.submit_encoded(
            prepared.entries, timeout=timeout, passage=passage, addenda=prepared.addenda
        )
    except BaseException as error:
        where = await _keep(gateway, decision, prepared, passage)
        if not isinstance(error, MunimentError):
            raise  # whoever cancels the call does not take its denial back
        return None, f"{where}: {error}"
    return receipt.index, ""


async def _keep(
    gateway: "Gateway", decision: Decision, prepared: Prepared, passage: Passage
) -> str:
    """Puts a denial that is not logged into the spool; says where it is."""
    if passage.has_left:
        return "the denial is not recorded for certain"
    if not gateway.has_spool:
        return "the denial is not recorded"
    try:
        await gateway.unfinished.finish(partial(gateway.spool.put_prepared, prepared), "the denial")
    except MunimentError as error:
        return f"the denial is not recorded ({error})"
    return f"decision {decision.id} is in the spool, for later"


async def record_reduced(
    gateway: "Gateway",
    members: Mapping[str, Any],
    denial: Denied,
    timeout: float | None = None,  # noqa: ASYNC109 - see record_denial
    held: Iterable[bytes] = (),
    *,
    private: Patterns | None = None,
    later: bool = False,
) -> Denied:
    """Logs a denial whose decision cannot be recorded as it is, reduced as far as it must be.

    Returns the denial with its leaf index; its reasons say so when it is not recorded. ``held`` are
    the addenda that the decision names already. With ``later`` it leaves that to the spool at once.
    ``private`` is left out, and committed to, by a gateway that withholds nothing itself.
    """
    try:
        prepared = _reduced(gateway, members, denial.codes, held, private)
        record = parse_record(prepared.entries[0])
        assert isinstance(record, Decision)  # noqa: S101 - made so
        if later:
            where = await _keep(gateway, record, prepared, Passage())
            return Denied(denial.codes, [*denial.reasons, where])
        index, trouble = await record_denial(gateway, record, prepared, timeout)
        where = trouble or f"recorded as decision {record.id}, leaf {index}"
    except Exception as error:  # noqa: BLE001 - a denial is one whatever keeps it from the log
        index, where = None, f"the denial is not recorded: {error}"
    return Denied(denial.codes, [*denial.reasons, where], index=index)


def members_of(decision: RecordInput) -> Mapping[str, Any] | None:
    """The members of what shall be a decision, as far as they can be told; None if it is none."""
    value: Any = decision
    try:
        if isinstance(decision, msgspec.Struct):
            if not isinstance(decision, Decision):
                return None
            value = {
                name: _builtins(getattr(decision, name))
                for name in decision.__struct_fields__
                if getattr(decision, name) is not None
            }
        elif isinstance(decision, str | bytes):
            value = json.loads(decision)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, Mapping) or value.get("kind", "decision") != "decision":
        return None
    return value if isinstance(value.get("request"), Mapping) else None


def _builtins(value: Any) -> Any:
    """A member of a typed record as the built-in values that it is made of, if it can be."""
    if not isinstance(value, msgspec.Struct | tuple):
        return value
    try:
        return msgspec.to_builtins(value)
    except (msgspec.MsgspecError, TypeError, ValueError):
        return value


def denial_of_members(members: Mapping[str, Any], denial: Denied) -> Denied:
    """The denial of a decision that cannot be recorded: for what it says, if it says no itself."""
    response = members.get("response", {"decision": members.get("expected")})
    if not isinstance(response, Mapping) or response.get("decision") is not False:
        return denial
    codes: tuple[DenialCode, ...] = stated_codes(members) or ("denied_by_policy",)
    return Denied(codes, [*denial.reasons])


def _reduced(
    gateway: "Gateway",
    members: Mapping[str, Any],
    codes: tuple[DenialCode, ...],
    held: Iterable[bytes],
    private: Patterns | None,
) -> Prepared:
    """The record of a denial, without what is left out of it; of that the addenda, if any.

    What a gateway withholds it leaves out, too; who withholds keeps what is left out.
    """
    id_ = record_id(members.get("id")) or f"d-{secrets.token_hex(12)}"
    withholding = gateway.withholding
    addenda = [*held]

    def keep(_path: str, value: Any) -> str:
        data = addendum(new_nonce(), value)
        if len(data) > MAX_ADDENDUM:
            raise FormatError("too long to be kept")
        addenda.append(data)
        return commitment_of(data)

    commit: Commit | None = partial(gateway.salts.commit, id_) if gateway.has_spool else None
    if withholding is not None and withholding.keep is not None:
        commit, private = keep, withholding.patterns
    if withholding is not None and withholding.pseudonyms is not None:
        members, is_whole = withholding.pseudonyms.replaced(members)
        commit = commit if is_whole else None
    try:
        reduced = reduce_decision(members, id_, codes, commit, private)
        [entry] = gateway.prepare([reduced])
    except Exception:  # noqa: BLE001 - the caller's objects may do anything
        addenda.clear()
        [entry] = gateway.prepare([reduce_decision({}, id_, codes, None)])
    return Prepared([entry], {0: addenda}) if addenda else Prepared([entry])
