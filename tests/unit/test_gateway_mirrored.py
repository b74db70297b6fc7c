"""Whatever a log shows as mirrored: there are proofs of it, or there is an error."""

import asyncio

import pytest

from byzantine import ORIGIN, ByzantineLog
from muniment.errors import BadAnswer, NotMirrored, VerificationError
from muniment.gateway.mirrored import check_require, mirrored_receipts
from muniment.gateway.receipts import BatchReceipt, Receipt
from muniment.http.logclient import LogClient
from muniment.tlog.merkle import leaf_hash
from muniment.tlog.mirrors import check_mirrored
from muniment.tlog.policy import Policy, parse_policy
from signing import witness
from stand import Answer
from waiting import LONGER, SECONDS

W, M = witness("w.example"), witness("m.example")
SIZE = 20


def policy_of(log: ByzantineLog, more: str = "group mirrors any m\nquorum w\n") -> Policy:
    text = "".join(f"log {vkey}\n" for vkey in log.main.vkeys)
    return parse_policy(f"{text}witness w {W.vkey}\nwitness m {M.vkey}\n{more}".encode())


def receipts(log: ByzantineLog) -> list[Receipt]:
    batch = BatchReceipt("s", 0, 3, 5, 8, 9)
    leaves = log.main.entries[4:6]
    return [Receipt(4 + n, leaf, leaf_hash(leaf), batch) for n, leaf in enumerate(leaves)]


def ask(
    log: ByzantineLog, answer: Answer, policy: Policy | None = None, seconds: float = SECONDS
) -> list[Receipt]:
    log.main.answers["/checkpoint.mirrored*"] = answer

    async def work(url: str) -> list[Receipt]:
        async with LogClient(url) as client:
            return await mirrored_receipts(
                client,
                receipts(log),
                origin=ORIGIN,
                policy=policy or policy_of(log),
                seconds=seconds,
            )

    with log.serve("127.0.0.1") as stand:
        return asyncio.run(work(stand.url()))


def note(log: ByzantineLog, *cosigners: object, size: int = SIZE) -> Answer:
    return Answer(body=log.main.checkpoint(size, cosigners=cosigners).encode())  # type: ignore[arg-type]


@pytest.fixture
def log() -> ByzantineLog:
    made = ByzantineLog()
    made.main.append(SIZE)
    return made


def test_what_mirrors_hold_is_proven(log):
    found = ask(log, note(log, W, M))
    assert [receipt.index for receipt in found] == [4, 5]
    for receipt in found:
        proof = receipt.tlog_proof()
        assert proof.checkpoint.checkpoint.size == SIZE
        check_mirrored(policy_of(log).verify(proof.checkpoint))


@pytest.mark.parametrize("why", ["m did not cosign it", "503"])
def test_until_the_time_is_over_it_is_asked_for_one_that_does(log, why):
    """By whose word it does is for the policy to say."""
    answer = Answer(status=503) if why == "503" else note(log, W)
    for seconds in LONGER:
        with pytest.raises(NotMirrored, match=f"do not hold it within {seconds:g} s") as caught:
            ask(log, answer, seconds=seconds)
        if why in str(caught.value):
            return
    raise AssertionError(caught.value)


def test_without_the_quorum_it_is_not_verified(log):
    with pytest.raises(VerificationError, match="no quorum"):
        ask(log, note(log, M))


def test_a_log_without_mirrors_says_so_at_once(log):
    with pytest.raises(NotMirrored, match="404"):
        ask(log, Answer(status=404))


def test_it_must_be_a_checkpoint(log):
    with pytest.raises(BadAnswer, match="mirrored checkpoint"):
        ask(log, Answer(body=b"junk\n"))


def test_of_the_tree_that_the_leaves_are_in(log):
    other = log.split("other", at=2)
    with pytest.raises((VerificationError, BadAnswer)):
        ask(log, Answer(body=other.checkpoint(SIZE, cosigners=(W, M)).encode()))


def test_what_a_gateway_may_require(log):
    check_require("mirrored", policy_of(log))
    with pytest.raises(ValueError, match="a group of the name mirrors"):
        check_require("mirrored", policy_of(log, "quorum w\n"))
    with pytest.raises(ValueError, match="a group of the name mirrors"):
        check_require("mirrored", None)
    with pytest.raises(ValueError, match="its quorum takes mirrors"):
        check_require("cosigned", policy_of(log, "group mirrors any m\nquorum mirrors\n"))
    with pytest.raises(ValueError, match="expected 'cosigned' or 'mirrored'"):
        check_require("held", policy_of(log))  # type: ignore[arg-type]
