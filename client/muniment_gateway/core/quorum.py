"""What several policy engines have answered, and what that comes to.

An engine allows, denies, or has not answered. When as many allow as the quorum wants, the decision
is true. Else it is false, with codes that say why: a plain no when none allowed, or as many denied
as the quorum wants; ``policy_mismatch`` when some allowed and others denied, and neither are
enough; ``could_not_evaluate`` when somebody who was needed has not answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from muniment.records.artifact import PolicyRef
from muniment.records.members import DenialCode
from muniment_gateway.core.anyjson import recordable


@dataclass(frozen=True, slots=True)
class AuthorityAnswer:
    """What one authority has answered.

    Attributes:
        authority: Its name.
        response: Its AuthZEN response, verbatim; None when it has not answered.
        error: Why it has not answered; empty when it has.
        plain: That without what may be a part of the request; empty when it is the same.
        policy: The policy that it decided by, where that is known.
        ticket: What names the answer at an authority that signs.
        took: Seconds.
        raw: All that the engine has said, where that is more than an AuthZEN response.
    """

    authority: str
    response: dict[str, Any] | None = None
    error: str = ""
    policy: PolicyRef | None = None
    ticket: str | None = None
    took: float = field(default=0.0, compare=False)
    raw: Any = field(default=None, compare=False)
    plain: str = ""

    @property
    def allows(self) -> bool | None:
        """Its decision; None when it has not answered."""
        return None if self.response is None else self.response["decision"] is True

    def recorded(
        self, speaker: "AuthorityAnswer | None", most: int, *, withholds: bool
    ) -> dict[str, Any]:
        """It as a member of the decision's record, which has the speaker's response already.

        Of another one's, what is longer than `most` bytes is left out; of an error, when the record
        `withholds` parts of the request, what may quote them.
        """
        told: dict[str, Any] = {"authority": self.authority}
        if self.response is None:
            told["error"] = (withholds and self.plain) or self.error
        else:
            told["decision"] = self.allows
            others = {k: v for k, v in self.response.items() if k != "decision"}
            if others and self is not speaker:
                told["response"] = recordable(others, most)
        if self.policy is not None:
            told["policy"] = {
                "id": self.policy.id,
                "revision": self.policy.revision,
                "digest": self.policy.digest,
            }
        return told


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many of how many authorities must allow; both at least 1."""

    needed: int
    of_all: int

    @classmethod
    def of(cls, text: Literal["all", "any"] | int, authorities: int) -> Self:
        """Makes it of its configured form; ValueError when so many authorities are not there."""
        if not authorities:
            return cls(1, 1)  # nobody can allow
        needed = {"all": authorities, "any": 1}[text] if isinstance(text, str) else text
        if needed > authorities:
            raise ValueError(f"{needed} of {authorities} authorities")
        return cls(needed, authorities)

    def __str__(self) -> str:
        return f"{self.needed} of {self.of_all}"


@dataclass(frozen=True, slots=True)
class Combined:
    """What answers come to: codes only of a decision of false; the answer that speaks for it."""

    decision: bool
    codes: tuple[DenialCode, ...]
    speaker: AuthorityAnswer | None


def is_settled(answers: Sequence[AuthorityAnswer], quorum: Quorum) -> bool:
    """Whether these answers, of some of the authorities, come to the same whatever others say.

    An early no is settled only when its codes are, too.
    """
    allowing = sum(one.allows is True for one in answers)
    denying = sum(one.allows is False for one in answers)
    return allowing >= quorum.needed or denying >= max(
        quorum.needed, quorum.of_all - quorum.needed + 1
    )


def combine(answers: Sequence[AuthorityAnswer], quorum: Quorum) -> Combined:
    """Combines the answers of all authorities, in their configured order."""
    allowing = [one for one in answers if one.allows is True]
    denying = [one for one in answers if one.allows is False]
    silent = quorum.of_all - len(allowing) - len(denying)
    if len(allowing) >= quorum.needed:
        return Combined(decision=True, codes=(), speaker=allowing[0])
    codes: list[DenialCode] = []
    if denying and (len(denying) >= quorum.needed or not allowing):
        codes.append("denied_by_policy")
    elif denying:
        codes.append("policy_mismatch")
    if silent and (not denying or len(denying) < quorum.needed):
        codes.append("could_not_evaluate")
    return Combined(decision=False, codes=tuple(codes), speaker=denying[0] if denying else None)
