"""C2SP tlog-mirror in policies: who of the cosigners is a mirror, and what that is worth."""

import json
from pathlib import Path

import pytest

from chains import START, YEAR, file, version
from commands import muniment
from muniment.tlog.encoding import VerificationError
from muniment.tlog.mirrors import (
    NotHeldError,
    analyse_mirrors,
    are_mirrored,
    check_mirrored,
    mirrors_of,
    names_of_mirrors,
    needs_mirrors,
    verify_mirrored,
)
from muniment.tlog.policy import Policy, format_policy, parse_policy
from signing import log_signer, signed, witness, witness_mldsa44

KEYS = {name: witness(f"{name}.example") for name in ("w1", "w2", "m1", "m2", "m3")}
LINES = {name: f"witness {name} {key.vkey}\n" for name, key in KEYS.items()}
BASE = f"log {log_signer().vkey}\n" + "".join(LINES.values())
BESIDE = f"{BASE}group mirrors 2 m1 m2 m3\ngroup q all w1 w2\nquorum q\n"
INSIDE = f"{BASE}group mirrors 2 m1 m2 m3\ngroup q all w1 w2 mirrors\nquorum q\n"


def parse(text: str) -> Policy:
    return parse_policy(text.encode())


def names(policy: Policy) -> list[str]:
    return [each.name for each in mirrors_of(policy)]


class TestWhoMirrors:
    """The group, or the one line, of the name."""

    def test_the_members_of_the_group_are(self):
        assert names(parse(BESIDE)) == ["m1", "m2", "m3"]
        assert names_of_mirrors(parse(BESIDE)) == {"mirrors", "m1", "m2", "m3"}

    def test_and_those_of_the_groups_in_it(self):
        second = witness_mldsa44("m1.example")
        text = (
            f"{BASE}witness m1-mldsa {second.vkey}\ngroup both all m1 m1-mldsa\n"
            "group mirrors any both m2\nquorum w1\n"
        )
        assert names(parse(text)) == ["m1", "m2", "m1-mldsa"]

    def test_one_line_may_have_the_name(self):
        text = f"log {log_signer().vkey}\nwitness mirrors {KEYS['m1'].vkey}\nquorum none\n"
        assert names(parse(text)) == ["mirrors"]
        assert are_mirrored(parse(text), ["mirrors"])

    def test_without_it_nobody_is(self):
        policy = parse(f"{BASE}quorum w1\n")
        assert names(policy) == []
        assert analyse_mirrors(policy) is None
        assert not are_mirrored(policy, list(KEYS))
        assert not needs_mirrors(policy)

    def test_the_file_comes_back(self):
        assert names(parse_policy(format_policy(parse(BESIDE)))) == ["m1", "m2", "m3"]


class TestMirrored:
    """Whether a verified checkpoint is held by as many as the policy asks for."""

    def test_as_many_as_the_group_asks_for(self):
        policy = parse(BESIDE)
        found = policy.verify(signed(log_signer(), *(KEYS[n] for n in ("w1", "w2", "m1", "m3"))))
        check_mirrored(found)

    def test_witnesses_are_no_mirrors(self):
        policy = parse(BESIDE)
        found = policy.verify(signed(log_signer(), *(KEYS[n] for n in ("w1", "w2", "m2"))))
        with pytest.raises(VerificationError, match="not held by enough mirrors: m1, m3 did not"):
            check_mirrored(found)

    def test_a_policy_without_mirrors_cannot_say_so(self):
        policy = parse(f"{BASE}quorum w1\n")
        found = policy.verify(signed(log_signer(), *KEYS.values()))
        with pytest.raises(VerificationError, match="names no mirrors"):
            check_mirrored(found)

    def test_a_quorum_may_need_them(self):
        assert needs_mirrors(parse(INSIDE))
        assert not needs_mirrors(parse(BESIDE))
        with pytest.raises(VerificationError, match="no quorum"):
            parse(INSIDE).verify(signed(log_signer(), *(KEYS[n] for n in ("w1", "w2", "m1"))))


class TestExplained:
    """`muniment policy explain`."""

    def explain(self, text: str, tmp_path: Path, *options: str) -> str:
        path = tmp_path / "trust.policy"
        path.write_text(text)
        return muniment("policy", "explain", str(path), *options).output

    def test_in_words(self, tmp_path):
        text = self.explain(BESIDE, tmp_path)
        assert "A witness holds no leaves" in text
        assert "Mirrors: m1, m2, m3. A mirror cosigns a tree once it holds every leaf" in text
        assert "takes at least 2 mirrors" in text
        assert "while at most 1 of the mirrors lose them, are away or lied" in text
        assert "Trees get mirrored while at most 1 of the mirrors are away" in text
        assert "(require=mirrored)" in text
        assert "not used by the quorum" not in text
        assert "The quorum needs them" in self.explain(INSIDE, tmp_path)

    def test_as_json(self, tmp_path):
        value = json.loads(self.explain(BESIDE, tmp_path, "--json"))
        assert value["mirrors"] == {
            "names": ["m1", "m2", "m3"],
            "fewest": 2,
            "absent": 1,
            "needed": False,
        }
        none = json.loads(self.explain(f"{BASE}quorum w1\n", tmp_path, "--json"))
        assert none["mirrors"] is None


class TestWhenThePolicyChanges:
    """While two versions are in force, the mirrors of either do."""

    @pytest.mark.parametrize("mirror", ["m1", "m2"])
    def test_those_of_either_version_do(self, mirror):
        first = f"{BASE}group mirrors any m1\nquorum w1\n"
        chain = version((), first, (START, START + YEAR))
        chain = version(chain, first.replace("any m1", "any m2"), (START + 100, START + YEAR))
        policy = parse_policy(file(chain))
        made = signed(log_signer(), origin=log_signer().vkey.name)
        text, now = made.checkpoint.text, START + 200
        by_witness = made.with_signatures([KEYS["w1"].sign(text, now)])
        with pytest.raises(NotHeldError, match="m2 did not cosign"):
            verify_mirrored(policy.at(now), by_witness)
        held = by_witness.with_signatures(KEYS[name].sign(text, now) for name in ("w1", mirror))
        check_mirrored(verify_mirrored(policy.at(now), held))
        later = made.with_signatures([KEYS["m1"].sign(text, now)])
        with pytest.raises(VerificationError, match="no quorum"):
            verify_mirrored(policy.at(now), later)
        if mirror == "m1":  # half of the one version and half of the other are no whole
            early = START + 50
            by = [KEYS["w1"].sign(text, now), KEYS["m2"].sign(text, early)]
            with pytest.raises(NotHeldError):
                verify_mirrored(policy.at(now), made.with_signatures(by))
