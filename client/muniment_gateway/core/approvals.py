"""Calls that wait for a person: what each of them may become, and whose word makes it so. Pure.

A call is *requestable* once it was denied for want of an approval, and *pending* once people were
asked. It is *approved* once as many have said yes as are required, and *denied* by a single no; one
decision makes an approved one *used*. Whoever asked may take it back: *cancelled*. Time makes it
*expired* before, and *lapsed* after an approval that nobody has used. Nothing leads back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from muniment.records.approval import SignedApproval, call_digest, is_own, verify_approval
from muniment.records.artifact import ResourceScope
from muniment.tlog.encoding import MunimentError, VerificationError
from muniment.tlog.note import VKey

Status: TypeAlias = Literal[
    "requestable", "pending", "approved", "denied", "used", "expired", "lapsed", "cancelled"
]

MOST_APART: Final = 60
"""Seconds that the clocks of a gateway and an approver may differ."""


class ApprovalRefusedError(MunimentError):
    """A person's word, or a use, that does not count.

    Attributes:
        slug: Why, for programs: `unknown-approver`, `bad-signature`, `other-call`,
            `self-approval`, `bad-times`, `not-pending`, `said-already`, `expired`, `not-approved`.
    """

    def __init__(self, slug: str, text: str) -> None:
        """Takes the slug, and the reason for people."""
        super().__init__(text)
        self.slug = slug


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Who decides on which calls, and how: an authority of kind `approval`.

    Attributes:
        name: The authority's name.
        approvers: The key of each person, and what subjects call this person.
        actions: Of which actions; empty for all.
        resources: Of which resources; empty for all.
        request_seconds: How long a call waits for a person.
        use_seconds: How long an approval may be used at the most.
        hold_seconds: How long a caller is held who can wait.
        most_waiting: Most calls of one client that people may be asked about at one time.
        allow_self: Whether who wants a call may approve it.
        webhook: The URL that is told of what waits; None for none.
        required: How many different people have to approve.
    """

    name: str
    approvers: Mapping[VKey, str]
    actions: frozenset[str] = frozenset()
    resources: tuple[ResourceScope, ...] = ()
    request_seconds: int
    use_seconds: int
    hold_seconds: float
    most_waiting: int
    allow_self: bool = False
    webhook: str | None = field(default=None, repr=False)
    required: int = 1

    def decide_on(self, request: Mapping[str, Any]) -> bool:
        """Whether a request needs their word."""
        if self.actions and request["action"]["name"] not in self.actions:
            return False
        resource = request["resource"]
        return not self.resources or any(
            one.covers(resource["type"], resource["id"]) for one in self.resources
        )


class Word(NamedTuple):
    """What a person has said, and the leaf index of its record; None while that is not known."""

    approval: SignedApproval
    leaf: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A call that waits, or has waited, for a person.

    Attributes:
        id: What the gateway calls it: unguessable.
        key: Which call of which client it is, see `key_of`.
        client: Who asked; empty when nobody has to show a token.
        authority: Whose word it needs.
        evaluation: The id of the decision that denied it first.
        request: The request, with all that its record withholds.
        withheld: Pointers of what its record withholds.
        salt: What the nonces of its addenda are made of: 32 hexadecimal digits.
        call: Its digest as records have it, see `records.approval.call_digest`.
        made: When it was denied first, Unix seconds.
        expires: Until when a person may decide.
        asked: What came with the access request; None while people were not asked.
        approval: The word that has decided on it: a no, or the last yes that was required.
        leaf: Leaf index of the record of that.
        used: The id of the decision that has used it.
        earlier: The other people's yes before that.
        cancelled: When who asked took it back, Unix seconds; None when nobody did.
    """

    id: str
    key: bytes
    client: str
    authority: str
    evaluation: str
    request: dict[str, Any]
    withheld: tuple[str, ...]
    salt: str = field(repr=False)
    call: str
    made: int
    expires: int
    asked: dict[str, Any] | None = None
    approval: SignedApproval | None = None
    leaf: int | None = None
    used: str | None = None
    earlier: tuple[Word, ...] = ()
    cancelled: int | None = None

    @property
    def words(self) -> tuple[Word, ...]:
        """All that people have said of it, in that order."""
        last = () if self.approval is None else (Word(self.approval, self.leaf),)
        return (*self.earlier, *last)

    @property
    def approvals(self) -> tuple[SignedApproval, ...]:
        """The approvals by which it may be decided on."""
        return tuple(word.approval for word in self.words if word.approval.decision)

    @property
    def not_after(self) -> int:
        """Until when the approvals hold: all of them."""
        return min((one.not_after for one in self.approvals), default=0)

    def status(self, now: int) -> Status:
        """What it is at a time in Unix seconds."""
        if self.cancelled is not None:
            return "cancelled"
        if self.approval is not None:
            if not self.approval.decision:
                return "denied"
            if self.used is not None:
                return "used"
            return "approved" if now < self.not_after else "lapsed"
        if now >= self.expires:
            return "expired"
        return "requestable" if self.asked is None else "pending"

    def is_live(self, now: int) -> bool:
        """Whether who asks for the call again is told of this one, and no other one is begun."""
        status = self.status(now)
        return status in {"requestable", "pending", "approved"} or (
            status == "denied" and now < self.expires  # a no is not asked about again at once
        )

    def nonce(self, pointer: str) -> str:
        """The nonce of the addendum of a withheld member: the same in every record of the call."""
        return sha256(f"{self.salt}{pointer}".encode()).hexdigest()[:32]

    def asked_about(self, now: int, asked: Mapping[str, Any]) -> "Held":
        """It after people were asked; as it is, if they were asked already.

        Raises ApprovalRefusedError if that is too late.
        """
        if self.status(now) == "expired":
            raise ApprovalRefusedError("expired", "the denial cannot be requested any more")
        return self if self.asked is not None else replace(self, asked=dict(asked))

    def taken_back(self, now: int) -> "Held":
        """It after who asked has taken it back; ApprovalRefusedError unless it still waits."""
        status = self.status(now)
        if status != "pending":
            raise ApprovalRefusedError(
                "not-pending", f"the call does not wait for anybody: {status}"
            )
        return replace(self, cancelled=now)

    def in_time(self, now: int) -> tuple[Word, ...]:
        """What people have said of it so far that holds at a time in Unix seconds."""
        return tuple(word for word in self.earlier if now < word.approval.not_after)

    def answered(
        self, approval: SignedApproval, people: People, now: int, leaf: int | None = None
    ) -> "Held":
        """It after a person's word, which `check_word` accepts, has been logged at a leaf."""
        check_word(self, approval, people, now)
        earlier = self.in_time(now)  # who said yes too long ago has to say it again
        if approval.decision and len(earlier) + 1 < people.required:
            return replace(self, earlier=(*earlier, Word(approval, leaf)))
        return replace(self, approval=approval, leaf=leaf, earlier=earlier)

    def used_by(
        self, decision: str, request: Mapping[str, Any], people: People, now: int
    ) -> "Held":
        """It after a decision by its approval; ApprovalRefusedError if there is none to be used.

        Args:
            decision: Its id.
            request: Its request, which may say that the call runs for somebody else by now.
            people: Who may approve.
            now: Unix seconds.
        """
        status = self.status(now)
        if status != "approved":
            raise ApprovalRefusedError("not-approved", f"the approval cannot be used: {status}")
        # Who may approve, and how many have to, may have changed meanwhile.
        for approval in self.approvals:
            check_author(self, approval, people)
            _check_not_own(approval, request, people)
        if len(self.approvals) < people.required:
            text = f"{len(self.approvals)} of {people.required} people have approved"
            raise ApprovalRefusedError("not-approved", text)
        return replace(self, used=decision)


def check_word(held: Held, approval: SignedApproval, people: People, now: int) -> None:
    """Checks that a person's word on a call counts now; ApprovalRefusedError tells why not."""
    status = held.status(now)
    if status == "expired":
        raise ApprovalRefusedError("expired", f"too late: the call waited until {held.expires}")
    if status != "pending":
        raise ApprovalRefusedError("not-pending", f"the call does not wait for anybody: {status}")
    check_author(held, approval, people)
    for earlier, _ in held.in_time(now):
        if approval.id == earlier.id or (
            approval.decision and approval.approver == earlier.approver
        ):
            text = f"{earlier.approver} has approved it already; somebody else has to"
            raise ApprovalRefusedError("said-already", text)
    if abs(now - approval.at) > people.use_seconds + MOST_APART:
        raise ApprovalRefusedError("bad-times", f"signed at {approval.at}, and it is {now} here")
    if approval.not_after - approval.at > people.use_seconds:
        text = f"valid for more than {people.use_seconds} seconds"
        raise ApprovalRefusedError("bad-times", text)
    if now >= approval.not_after or approval.at > now + MOST_APART:
        raise ApprovalRefusedError("bad-times", f"not valid now: it is {now} here")


def check_author(held: Held, approval: SignedApproval, people: People) -> None:
    """Checks that one of the people signed about this call; ApprovalRefusedError tells why not."""
    try:
        vkey = verify_approval(approval, people.approvers)
    except VerificationError as error:
        raise ApprovalRefusedError("bad-signature", str(error)) from error
    if vkey is None:
        raise ApprovalRefusedError(
            "unknown-approver", f"{approval.key} is no approver of {people.name} here"
        )
    if approval.approver != people.approvers[vkey]:
        raise ApprovalRefusedError(
            "unknown-approver", f"{approval.key} is not {approval.approver} here"
        )
    if (approval.request, approval.call) != (held.id, held.call):
        raise ApprovalRefusedError("other-call", "another call than this was signed")
    _check_not_own(approval, held.request, people)


def _check_not_own(approval: SignedApproval, request: Mapping[str, Any], people: People) -> None:
    if approval.decision and not people.allow_self and is_own(approval, request):
        raise ApprovalRefusedError(
            "self-approval", f"{approval.approver} cannot approve their own call"
        )


def key_of(
    request: Mapping[str, Any], client: str, authority: str, withheld: Sequence[str]
) -> bytes:
    """Tells calls apart: by whom, for whose word, and in what form they are on record.

    Raises FormatError if a request has no canonical JSON.
    """
    parts = [call_digest(request), client, authority, *sorted(withheld)]
    return sha256("\0".join(parts).encode()).digest()
