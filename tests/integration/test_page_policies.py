"""The page judges by policies over time as the commands do: good files, odd ones, mutated ones."""

import random
from collections.abc import Sequence
from pathlib import Path

import browser
import page_cases
from chains import START, YEAR, body, file, root, two_years, version
from governed import policy as governed_policy
from governed import story
from muniment.tlog.checkpoint import Checkpoint, sign_checkpoint
from muniment.tlog.merkle import leaf_hash
from muniment.tlog.note import VKey
from muniment.tlog.policy import format_policy
from muniment.tlog.policyversion import KeyRevocation
from muniment.tlog.tlogproof import TlogProof
from page_cases import Case, same
from signing import NOW, log_signer, witness

LEAF = b"leaf"
END = START + 2 * YEAR
WINDOW = (START + YEAR, END)
LATER = (NOW + 10 * YEAR, NOW + 11 * YEAR)
ROOTS = root("root.example/a", "root.example/b", threshold=2)


def proof(*cosigned: tuple[str, int]) -> bytes:
    """A proof of the one leaf of a log, cosigned by witnesses at times."""
    head = Checkpoint(log_signer().vkey.name, 1, leaf_hash(LEAF))
    signed = sign_checkpoint(head, [log_signer()], NOW)
    lines = [witness(name).sign(head.text, time) for name, time in cosigned]
    return TlogProof(0, (), signed.with_signatures(lines)).encode()


OLD = proof(("w1", START + 5), ("w2", START + 6))
NEW = proof(("w3", START + YEAR), ("w4", END - 1))
MIXED = proof(("w1", START + 5), ("w4", END - 1), ("w3", 0))


def revoked(word: str, name: str, since: int, *, of_log: bool = False, under: str = "") -> bytes:
    """Two years and a version that lists a key, with another name if one is given."""
    key = (log_signer(name) if of_log else witness(name)).vkey
    key = VKey.of(under or key.name, key.algorithm, key.public)
    listed = [KeyRevocation(word, key, since)]  # type: ignore[arg-type]
    return file(version(two_years(), body("w3", "w4"), WINDOW, revoked=listed))


def cases(proofs: Sequence[bytes], policies: Sequence[bytes]) -> list[Case]:
    return [
        Case("proof", {"file": one, "policy": policy, "entry": LEAF})
        for policy in policies
        for one in proofs
    ]


def test_each_year_by_its_version(page: browser.Page, tmp_path: Path) -> None:
    said = same(page, tmp_path, cases([OLD, NEW, MIXED], [file(two_years())]))
    assert [one["verified"] for one in said] == [True, True, False]
    assert [one.get("policy_version") for one in said] == [1, 2, None]


def test_times_windows_and_keys_that_do_not_count(page: browser.Page, tmp_path: Path) -> None:
    first = two_years()[:1]
    log = log_signer().vkey.name
    policies = [
        file(first),
        file(version(first, body("w1", "w2"), (START, END))),
        revoked("compromised", "w1", START),
        revoked("retired", "w1", START + 5),
        revoked("retired", "w1", START + 6),
        revoked("compromised", log, START + 5, of_log=True),
        revoked("compromised", log, START + 6, of_log=True),
        revoked("retired", log, END, of_log=True),
        revoked("compromised", "w1", START, under="renamed.example/w1"),
        revoked("compromised", log, START + 5, of_log=True, under="renamed.example/log"),
    ]
    ends = [
        proof((one, time), (other, time))
        for one, other in (("w1", "w2"), ("w3", "w4"))
        for time in (1, START - 1, START, START + YEAR - 1, START + YEAR, END - 1, END, 2**63 - 1)
    ]
    again = proof(*((name, START + time) for time in (5, 6) for name in ("w1", "w2")))
    said = same(page, tmp_path, cases([OLD, NEW, MIXED, again, *ends], policies))
    assert {one["verified"] for one in said} == {True, False}


def test_chains_that_do_not_hold(page: browser.Page, tmp_path: Path) -> None:
    one, two = two_years()
    other = version((), body("w1", "w5"), (START, START + YEAR))
    drafts = [
        (one, one),
        (two,),
        (other[0], two),
        version((), body("w1", "w2"), (START, END), signers=["root.example/b"]),
        version((), body("w1", "w2"), (START, END), new_root=ROOTS),
        version((one,), body("w1", "w2"), WINDOW, new_root=ROOTS),
        version((one,), body("w1", "w2"), WINDOW, signers=["root.example/b"], new_root=ROOTS),
        version((one,), body("w1", "w2"), (START - 1, END)),
    ]
    texts = [file(draft) for draft in drafts]
    good = file(two_years())
    for old, new in (
        (b"version 1\n", b"version 0\n"),
        (b"version 1\n", b"version 1025\n"),
        (b"from ", b"from 0"),
        (b"root 1 ", b"root 0 "),
        (b"root 1 ", b"root 2 "),
        (b"root 1 ", b"root 1  "),
        (b"root 1", b"rot 1"),
        (b"quorum all-of-them", b"quorum none"),
        (b"\n\nlog ", b"\nlog "),
        (b"\n\nlog ", b"\ncompromised x y z\n\nlog "),
        (b"\n\nlog ", b"\nretired x 5\n\nlog "),
        (b"\n\nlog ", b"\nretired\xc2\x85x 5\n\nlog "),
        (b"\n\nlog ", b"\nretired x 05\n\nlog "),
        (b"\n\nlog ", b"\n\nmuniment/policy/v1\nlog "),
    ):
        assert old in good
        texts.append(good.replace(old, new, 1))
    texts += [good[:-1], good + b"\n", good + good, b"muniment/policy/v1\n", good * 600]
    said = same(page, tmp_path, cases([OLD], texts))
    assert not any(each["verified"] for each in said)


def test_a_root_that_changes(page: browser.Page, tmp_path: Path) -> None:
    both = ["root.example/a", "root.example/b"]
    chain = version(two_years(), body("w3", "w4"), WINDOW, signers=both, new_root=ROOTS)
    chain = version(chain, body("w3", "w4"), WINDOW, signers=both)
    assert all(one["verified"] for one in same(page, tmp_path, cases([OLD, NEW], [file(chain)])))


def test_a_permit_by_what_is_in_force(page: browser.Page, tmp_path: Path) -> None:
    world, index = story()
    permit = world.permit(index).encode()
    text = format_policy(governed_policy()).decode()
    made: list[Case] = []
    for windows in (
        [(NOW - 100, NOW + 100)],
        [(NOW - 100, NOW)],
        [LATER],
        [(NOW - 100, NOW + 1), (NOW + 1, NOW + 100)],
        [(NOW - 100, NOW), LATER],
    ):
        chain = version((), text, windows[0])
        for window in windows[1:]:
            chain = version(chain, text, window)
        context = (
            f'{{"now": {NOW + 5}, "action": "read", "resource": {{"type": "document", "id": "7"}}}}'
        ).encode()
        files = {"file": permit, "policy": file(chain), "context": context}
        made.append(Case("permit", files))
    said = same(page, tmp_path, made)
    proofs = [
        [each["found"] for each in one["findings"] if each["check"] == "proof"] for one in said
    ]
    assert [len(each) for each in proofs] == [0, 1, 1, 1, 1]
    assert "expired" in proofs[1][0]


def test_mutated_chains(page: browser.Page, tmp_path: Path) -> None:
    chance = random.Random(18)
    good = [file(two_years()), revoked("retired", "w1", START + 5)]
    texts = [page_cases.mutate(chance, chance.choice(good)) for _ in range(400)]
    same(page, tmp_path, cases([OLD], texts))
