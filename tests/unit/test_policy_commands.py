"""``muniment policy`` over time: ``init``, ``sign``, ``show``, ``update`` and ``explain``."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from chains import START, YEAR, body, file, root_signer, two_years, version
from commands import muniment, read, write
from muniment.local.keyfiles import write_key_file
from muniment.tlog.checkpoint import Checkpoint, sign_checkpoint
from muniment.tlog.keys.keyfile import KeyFile
from muniment.tlog.merkle import leaf_hash
from muniment.tlog.note import Ed25519Signer
from muniment.tlog.policy import MAX_POLICY_SIZE, parse_policy
from muniment.tlog.policyversion import parse_chain
from muniment.tlog.tlogproof import TlogProof
from signing import ed25519, log_signer, witness
from staticserver import redirecting, static

END = START + 2 * YEAR
ROOT = str(root_signer().vkey)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with root keys and policies, as working directory."""
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        signer = root_signer(f"root.example/{name}")
        key = KeyFile(ed25519(signer.vkey.name), signer.vkey)
        write_key_file(Path(f"{name}.pem"), key, None)
    write("one.policy", body("w1", "w2").encode())
    write("two.policy", body("w3", "w4").encode())
    return tmp_path


def begin(*more: str) -> None:
    window = ("--from", str(START), "--until", str(START + YEAR))
    muniment("policy", "init", "chain", "--policy", "one.policy", *window, "--key", "a.pem", *more)


class TestMaking:
    """Who holds root keys makes versions."""

    def test_two_versions(self):
        begin()
        window = ("--from", str(START + YEAR), "--until", str(END))
        said = muniment(
            "policy", "sign", "chain", "--policy", "two.policy", *window, "--key", "a.pem"
        )
        assert said.stdout == (
            "chain: version 2, from 2027-01-01 00:00:00 UTC until 2028-01-01 00:00:00 UTC.\n"
        )
        assert read("chain") == file(two_years())

    def test_times_as_people_write_them(self):
        muniment(
            *("policy", "init", "chain", "--policy", "one.policy", "--key", "a.pem"),
            *("--from", "2026-01-01T00:00:00Z", "--until", "2027-01-01T00:00:00Z"),
        )
        assert read("chain") == file(two_years()[:1])

    def test_what_is_not_given_is_as_before(self):
        begin()
        key = str(witness("w1").vkey)
        muniment("policy", "sign", "chain", "--key", "a.pem", "--compromised", key, str(START + 5))
        old, new = (one.version for one in parse_chain(read("chain")))
        assert (new.body, new.start, new.until, new.root) == (
            old.body,
            old.start,
            old.until,
            old.root,
        )
        assert [tuple(one) for one in new.revoked] == [
            ("compromised", witness("w1").vkey, START + 5)
        ]
        muniment(
            "policy", "sign", "chain", "--key", "a.pem", "--retired", key, "2026-06-01T00:00:00Z"
        )
        assert parse_chain(read("chain"))[2].version.revoked[0].word == "retired"

    def test_a_key_that_no_version_lists_is_told_of(self):
        begin()
        plain = Ed25519Signer("w1", ed25519("w1")).vkey  # the same key, as a log's is spelled
        for vkey, known in ((plain, False), (witness("w1").vkey, True), (log_signer().vkey, True)):
            key = ("--compromised", str(vkey), str(START + 5))
            said = muniment("policy", "sign", "chain", "--key", "a.pem", *key)
            assert ("no version of the policy lists" in said.stderr) is not known

    def test_what_nobody_would_read_is_not_written(self):
        begin()
        write("long.policy", ("# xxxxxxxxx\n" * 41_000 + body("w3")).encode())
        sign = ("policy", "sign", "chain", "--key", "a.pem", "--policy", "long.policy")
        for _ in range(MAX_POLICY_SIZE // 500_000):
            muniment(*sign)
        before = read("chain")
        assert "begin another chain" in muniment(*sign, code=7).stderr
        assert read("chain") == before

    def test_several_root_keys_sign_one_after_the_other(self):
        roots = [f"--root={root_signer(f'root.example/{name}').vkey}" for name in "abc"]
        begin(*roots)
        assert not Path("chain").exists()
        lacking = "lacks 1 of the 2 root signatures that it needs"
        assert lacking in muniment("policy", "show", "chain.draft").stdout
        assert (
            lacking
            in json.loads(muniment("policy", "show", "chain.draft", "--json").stdout)["lacks"]
        )
        muniment("policy", "explain", "chain.draft", code=7)
        muniment("policy", "update", "chain", "--from", "chain.draft", roots[0], code=4)
        muniment("policy", "sign", "chain.draft", "--key", "a.pem")  # again is no other key
        assert lacking in muniment("policy", "show", "chain.draft").stdout
        muniment("policy", "sign", "chain.draft", "--key", "b.pem")
        muniment("policy", "update", "chain", "--from", "chain.draft", *roots)
        assert len(parse_policy(read("chain")).witnesses) == 2
        # The next version: the chain stays as it is until it is signed.
        before = read("chain")
        muniment("policy", "sign", "chain", "--key", "c.pem", "--until", str(END))
        assert read("chain") == before
        muniment("policy", "sign", "chain.draft", "--key", "c.pem", "--until", str(END), code=7)
        muniment("policy", "sign", "chain.draft", "--key", "b.pem")
        muniment("policy", "update", "chain", "--from", "chain.draft")
        assert len(parse_chain(read("chain"))) == 2

    def test_a_root_is_changed_by_both(self):
        begin()
        new = f"--root={root_signer('root.example/b').vkey}"
        muniment("policy", "sign", "chain", "--key", "a.pem", new)
        muniment("policy", "sign", "chain.draft", "--key", "b.pem", "--out", "chain")
        muniment("policy", "sign", "chain", "--key", "b.pem", "--until", str(END))
        assert len(parse_chain(read("chain"))) == 3

    def test_keygen_makes_root_keys(self):
        vkey = muniment("keygen", "--name", "r", "--use", "root", "--out", "r.pem").stdout.strip()
        muniment(
            *("policy", "init", "new", "--policy", "one.policy", "--until", "2099-01-01T00:00:00Z"),
            *("--key", "r.pem"),
        )
        assert vkey in muniment("policy", "show", "new").stdout
        options = ("--name", "r", "--use", "root", "--out", "s.pem", "--algorithm", "mldsa44")
        assert "Ed25519" in muniment("keygen", *options, code=7).stderr

    def test_what_cannot_be(self):
        begin()
        sign = ("policy", "sign", "chain", "--key", "a.pem")
        assert "all is signed" in muniment(*sign, code=7).stderr
        earlier = muniment(*sign, "--from", str(START - 1), code=7).stderr
        assert "does not begin before" in earlier
        assert "window" in muniment(*sign, "--until", str(START), code=7).stderr
        assert (
            "nothing is in force from"
            in muniment(*sign, "--from", str(START + YEAR + 1), "--until", str(END)).stderr
        )
        write("none.policy", b"quorum none\n")
        assert "quorum none" in muniment(*sign, "--policy", "none.policy", code=7).stderr
        assert "--compromised" in muniment(*sign, "--compromised", "x", "y", code=7).stderr
        assert (
            "there already"
            in muniment(
                *("policy", "init", "chain", "--policy", "one.policy", "--key", "a.pem"),
                *("--until", str(END)),
                code=7,
            ).stderr
        )
        muniment("policy", "init", "new", "--policy", "one.policy", "--key", "a.pem", code=2)
        muniment("policy", "sign", "one.policy", "--key", "a.pem", "--until", str(END), code=7)


class TestReading:
    """``show`` and ``explain``."""

    def test_show(self):
        write("chain", file(two_years()))
        text = muniment("policy", "show", "chain").stdout
        assert "Version 1, from 2026-01-01 00:00:00 UTC until 2027-01-01 00:00:00 UTC:" in text
        assert "Witnesses: w3, w4." in text
        assert f"Root: 1 of 1: {ROOT}" in text
        told = json.loads(muniment("policy", "show", "chain", "--json").stdout)["versions"]
        assert [one["number"] for one in told] == [1, 2]
        assert told[0]["sha256"] == two_years()[0].version.digest.hex()

    def test_explain_the_version_of_a_time(self):
        write("chain", file(two_years()))
        for time, names in ((START, "w1, w2"), (START + YEAR, "w3, w4")):
            text = muniment("policy", "explain", "chain", "--at", str(time)).stdout
            assert f"all-of-them: 2 of 2: {names}" in text
        told = muniment("policy", "explain", "chain", "--at", str(START), "--json").stdout
        assert json.loads(told)["version"]["number"] == 1
        assert "expired" in muniment("policy", "explain", "chain", "--at", str(END), code=4).stderr


class TestVerifying:
    """``muniment verify`` by the version of the proof's time."""

    @pytest.fixture
    def proofs(self):
        """Two proofs of one entry, one of each year."""
        write("entry", b"{}")
        checkpoint = Checkpoint(log_signer().vkey.name, 1, leaf_hash(b"{}"))
        for name, witnesses, time in (
            ("old", ("w1", "w2"), START + 5),
            ("new", ("w3", "w4"), START + YEAR),
        ):
            signed = sign_checkpoint(checkpoint, [log_signer(), *map(witness, witnesses)], time)
            write(f"{name}.tlog-proof", TlogProof(0, (), signed).encode())

    def verify(self, name: str, policy: str, code: int = 0) -> str:
        result = muniment(
            "verify", f"{name}.tlog-proof", "--entry", "entry", "--policy", policy, code=code
        )
        return result.stdout if code == 0 else result.stderr

    @pytest.mark.usefixtures("proofs")
    def test_each_year_by_its_own_policy(self):
        write("chain", file(two_years()))
        assert "Version 1 of the policy judges it" in self.verify("old", "chain")
        assert "Version 2 of the policy judges it" in self.verify("new", "chain")
        assert "no quorum" in self.verify("old", "two.policy", code=4)
        write("late", file(version((), body("w1", "w2"), (START + YEAR, END))))
        assert "before the version" in self.verify("old", "late", code=4)

    @pytest.mark.usefixtures("proofs")
    def test_an_expired_policy_judges_the_past_and_says_so(self, monkeypatch):
        monkeypatch.setattr("muniment.cli.common.time", SimpleNamespace(time=lambda: END))
        write("chain", file(version((), body("w1", "w2"), (START, START + 6))))
        result = muniment(
            *("verify", "old.tlog-proof", "--entry", "entry", "--policy", "chain", "--json")
        )
        assert json.loads(result.stdout)["policy_version"] == 1
        assert "has expired, and does not know what was found out since" in result.stderr


def update(source: str, *more: str, code: int = 0) -> str:
    result = muniment("policy", "update", "mine", "--from", source, *more, code=code)
    return result.stdout if code == 0 else result.stderr


class TestUpdates:
    """Only what the root has signed, only forwards, all of it or nothing."""

    def test_the_first_needs_the_root_keys(self):
        write("served", file(two_years()))
        assert "--root" in update("served", code=7)
        other = str(root_signer("root.example/b").vkey)
        assert "names 0" in update("served", "--root", other, code=4)
        assert "2 are wanted" in update("served", "--root", ROOT, "--threshold", "2", code=4)
        assert not Path("mine").exists()
        assert "version 2 (2 added)" in update("served", "--root", ROOT, "--threshold", "1")
        assert read("mine") == file(two_years())

    def test_again_and_onwards(self, tmp_path):
        write("mine", file(two_years()[:1]))
        write("served", file(two_years()))
        with static(tmp_path) as url:
            assert "version 2 (1 added)" in update(f"{url}/served")
            inode = Path("mine").stat().st_ino
            assert "nothing new" in update(f"{url}/served")
            told = json.loads(update(f"{url}/served", "--json"))
        assert Path("mine").stat().st_ino == inode
        assert told | {"expired": None} == {
            "version": 2,
            "added": 0,
            "until": END,
            "expired": None,
        }

    def test_a_rollback_is_refused_by_name(self):
        write("mine", file(two_years()))
        write("served", file(two_years()[:1]))
        said = update("served", code=4)
        assert "ends with version 1, and version 2 is installed" in said
        assert read("mine") == file(two_years())
        assert not Path("mine.fork").exists()

    def test_a_fork_is_kept_as_evidence(self):
        write("mine", file(two_years()))
        other = version(two_years()[:1], body("w5", "w6"), (START + YEAR, END))
        write("served", file(other))
        assert "two versions 2" in update("served", code=5)
        assert read("mine") == file(two_years())
        assert read("mine.fork") == file(other)

    def test_what_does_not_verify_changes_nothing(self):
        write("mine", file(two_years()[:1]))
        thief = version(
            two_years()[:1], body("w5"), (START + YEAR, END), signers=["root.example/thief"]
        )
        for data in (file(thief), b"", b"<html>", body("w1").encode(), file(two_years())[:-9]):
            write("served", data)
            update("served", code=4)
        assert read("mine") == file(two_years()[:1])
        update("absent", code=7)

    def test_a_policy_without_versions_is_not_replaced(self):
        write("mine", body("w1").encode())
        write("served", file(two_years()))
        assert "without versions" in update("served", "--root", ROOT, code=7)

    def test_who_is_asked(self):
        write("mine", file(two_years()))
        for url in ("http://policy.example/chain", "http://192.0.2.1/chain"):
            assert "without TLS" in update(url, code=7)
        with redirecting("http://policy.example/chain") as url:
            assert "answered with 302" in update(url, code=3)
        assert update(url, code=3)  # nobody is there any more
        assert read("mine") == file(two_years())

    def test_an_expired_one_is_taken_and_said(self):
        write("served", file(version((), body("w1"), (1_000_000_000, 1_000_000_001))))
        assert "It has expired" in update("served", "--root", ROOT)
