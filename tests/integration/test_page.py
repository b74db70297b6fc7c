"""The page verify.html in a real browser says what the commands say, of good, bad and odd files."""

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import browser
import byzantine
import page_cases
import rfc6962
from fuzzing import corpus
from governed import WITNESSES
from muniment.page import page_digest
from muniment.tlog.checkpoint import Checkpoint, sign_checkpoint
from muniment.tlog.evidence import fork, same_size
from muniment.tlog.keys.ed25519 import ed25519_check
from muniment.tlog.note import SignatureLine
from muniment.tlog.policy import Policy, PolicyGroup, PolicyLog, PolicyWitness, format_policy
from muniment.tlog.tlogproof import TlogProof, parse_tlog_proof
from page_cases import Case, same
from signing import NOW, ORIGIN, log_mldsa44, log_signer, witness, witness_mldsa44

ROOT = Path(__file__).resolve().parents[2]
VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"


LEAVES = [b"leaf %d" % number for number in range(20)]


def proofs() -> list[Case]:
    """Good proofs: by Ed25519 and by ML-DSA-44, of a first, a middle and the last leaf."""
    return [*proofs_at(NOW)]


def proofs_at(now: int) -> Iterator[Case]:
    """Proofs whose checkpoints are signed and cosigned at a time."""
    for log, cosigner in ((log_signer(), witness), (log_mldsa44(), witness_mldsa44)):
        cosigners = [cosigner(name) for name in WITNESSES]
        trusted = Policy(
            (PolicyLog(log.vkey),),
            tuple(PolicyWitness(one.vkey.name, one.vkey) for one in cosigners),
            (PolicyGroup("quorum", 2, WITNESSES),),
            "quorum",
        )
        head = Checkpoint(ORIGIN, len(LEAVES), rfc6962.MTH(LEAVES))
        checkpoint = sign_checkpoint(head, [log, *cosigners[:2]], now)
        for index in (0, 5, 19):
            proof = TlogProof(index, tuple(rfc6962.PATH(index, LEAVES)), checkpoint)
            files = {
                "file": proof.encode(),
                "policy": format_policy(trusted),
                "entry": LEAVES[index],
            }
            yield Case("proof", files)


def evidence() -> list[Case]:
    """Good evidence of every kind that is about two heads."""
    log = byzantine.ByzantineLog()
    log.main.append(12)
    other = log.split("other", at=5)
    trusted = f"log {log.vkeys[0]}\nquorum none\n".encode()
    claims = (
        fork(log.main.checkpoint(8), other.checkpoint(12), other.root(8), other.proof(8, 12)),
        same_size(log.main.checkpoint(), other.checkpoint()),
    )
    return [Case("evidence", {"file": one.encode(), "policy": trusted}) for one in claims]


def kept() -> list[Case]:
    """Every policy, proof and evidence of the kept corpus."""
    [good, *_], [claim, *_] = proofs(), evidence()
    cases = [good.with_file("policy", data) for data in corpus.load("policy")]
    cases += [good.with_file("file", data) for data in corpus.load("tlog-proof")]
    return cases + [claim.with_file("file", data) for data in corpus.load("evidence")]


def test_good_files_are_verified(page: browser.Page, tmp_path: Path) -> None:
    said = same(page, tmp_path, [*proofs(), *evidence()])
    assert all(one["verified"] for one in said)


def test_a_signature_without_a_time_does_not_count(page: browser.Page, tmp_path: Path) -> None:
    said = same(page, tmp_path, [*proofs_at(0)])
    assert not any(one["verified"] for one in said)


@pytest.mark.parametrize("name", ["constructor", "__proto__", "toString", "none", "any", "all"])
def test_words_of_javascript_are_words_like_others(
    page: browser.Page, tmp_path: Path, name: str
) -> None:
    """Names, thresholds and keywords that an object of JavaScript has by itself."""
    [good, *_] = proofs()
    lines = good.files["policy"].decode().replace("w1.example w1", f"{name} w1")
    grouped = lines.replace("2 w1.example", f"2 {name}")
    texts = (
        grouped,
        lines.replace("quorum 2 w1.example", f"quorum {name} {name}"),
        grouped.replace("group quorum", f"group {name}"),
        f"{name} x\n{lines}",
        grouped.replace("quorum quorum", f"quorum {name}"),
    )
    same(page, tmp_path, [good.with_file("policy", text.encode()) for text in texts])


@pytest.mark.parametrize(
    "lines",
    [
        "origin {name}",
        "origin other.example",
        "origin other.example\n# x\n\n \torigin\t {name} \t",
        "origin two words  and spaces\norigin {name}",
        "origin",
        "origin x\norigin x",
        "origin a\tb",
        "origin \u00e9\norigin {name}",
        "witness other {key}\norigin {name}",
    ],
)
def test_origins_of_a_key_are_read_alike(page: browser.Page, tmp_path: Path, lines: str) -> None:
    chosen = [next(iter(proofs())), *evidence()[:2]]
    cases: list[Case] = []
    for good in chosen:
        first, rest = good.files["policy"].decode().split("\n", 1)
        key = first.split()[1]
        stated = lines.format(name=key.split("+")[0], key=key)
        cases.append(good.with_file("policy", f"{first}\n{stated}\n{rest}".encode()))
    same(page, tmp_path, cases)


def test_the_kept_corpus_gets_the_same_verdicts(page: browser.Page, tmp_path: Path) -> None:
    same(page, tmp_path, kept())


def test_mutated_files_get_the_same_verdicts(page: browser.Page, tmp_path: Path) -> None:
    chance = random.Random(17)
    good = [*proofs(), *evidence()]
    cases: list[Case] = []
    for _ in range(400):
        case = chance.choice(good)
        role = chance.choice(["file", *case.files])
        cases.append(case.with_file(role, page_cases.mutate(chance, case.files[role])))
    said = same(page, tmp_path, cases)
    assert len({one.get("reason") for one in said}) > 60  # not all for one reason


def probes(kind: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((VECTORS / kind).rglob("*.json"))]


PROBE = """
(name, numbers, hashes, proof) => {
  const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const values = numbers.map(BigInt);
  const [one, two] = hashes.map(bytes);
  const path = (proof ?? []).map(bytes);
  const given = name === 'verifyInclusion'
    ? [one, ...values, path, two] : [values[0], one, values[1], two, path];
  try {
    muniment[name](...given);
    return null;
  } catch (error) {
    return error.message;
  }
}
"""


@pytest.mark.parametrize(
    ("kind", "numbers", "hashes"),
    [
        ("inclusion", ("leafIdx", "treeSize"), ("leafHash", "root")),
        ("consistency", ("size1", "size2"), ("root1", "root2")),
    ],
)
def test_the_shared_vectors_get_the_same_verdicts(
    page: browser.Page, kind: str, numbers: tuple[str, str], hashes: tuple[str, str]
) -> None:
    """Those of transparency-dev/merkle, which the Python verifier is tested with, too."""
    found = probes(kind)
    if not found:
        pytest.skip("the shared vectors are not beside this repository")
    for probe in found:
        sizes = [probe[name] for name in numbers]
        told = page.call(
            PROBE,
            f"verify{kind.title()}",
            [str(size % 2**64) for size in sizes],
            [probe[name] for name in hashes],
            probe["proof"],
        )
        assert (told is not None) == probe["wantErr"], probe["desc"]


STRICT = {
    # A message "hello", by keys and points that RFC 8032 leaves to the verifier.
    "an ordinary one": (
        "7767a3242dc9b58bbc68488c1265cc6cc5f26c6f3c88a5d55e901b0734dca572",
        (
            "7db0dc9222f3c183457ddde4c708de8e5ea6bf3d5c4404cca14b32729a05c32a"
            "83abf232e2ff425687994cbdedf91e41253ad0283ec2d7e0e370332ad4d32409"
        ),
    ),
    "R and a point of small order": (
        "7767a3242dc9b58bbc68488c1265cc6cc5f26c6f3c88a5d55e901b0734dca572",
        (
            "6999d5cb5126005c325892f1c6eab824b310708befff12fbaf45dda050cb12f0"
            "81702704a7d9ee5ea4b3f00d2f098185c6165c90f39319c1d36ffe91a83b8f02"
        ),
    ),
    "key and a point of small order": (
        "6a84d583f06569edb3f5ed77df65544b27d6948b4f0b2cb76f33dd8413b20719",
        (
            "7db0dc9222f3c183457ddde4c708de8e5ea6bf3d5c4404cca14b32729a05c32a"
            "7ec1628e27403382bc263f266da5948ca29091739be22764f649146790b2210c"
        ),
    ),
    "s beyond the order of the group": (
        "7767a3242dc9b58bbc68488c1265cc6cc5f26c6f3c88a5d55e901b0734dca572",
        (
            "7db0dc9222f3c183457ddde4c708de8e5ea6bf3d5c4404cca14b32729a05c32a"
            "707fe88ffc6255ae5d364460ccf3fd55253ad0283ec2d7e0e370332ad4d32419"
        ),
    ),
    "the neutral key": ("01" + "00" * 31, "01" + "00" * 31 + "00" * 32),
    "a key of order 4": ("00" * 32, "01" + "00" * 31 + "00" * 32),
    "a key spelled p": ("ed" + "ff" * 30 + "7f", "01" + "00" * 31 + "00" * 32),
    "a key spelled p + 1": ("ee" + "ff" * 30 + "7f", "01" + "00" * 31 + "00" * 32),
    "the neutral key with a sign": ("01" + "00" * 30 + "80", "01" + "00" * 31 + "00" * 32),
    "no key": ("02" + "00" * 31, "01" + "00" * 31 + "00" * 32),
}


@pytest.mark.parametrize("name", STRICT)
def test_ed25519_is_as_strict_in_the_browser(page: browser.Page, name: str) -> None:
    """WebCrypto alone takes some of these; libsodium, which Python uses, takes none of them."""
    key, signature = map(bytes.fromhex, STRICT[name])
    ask = """
    (...values) => {
      const bytes = values.map((one) => Uint8Array.from(one));
      return muniment.verifyEd25519(...bytes);
    }
    """
    told = page.call(ask, list(key), list(b"hello"), list(signature))
    assert told == ed25519_check(key)(b"hello", signature) == (name == "an ordinary one")


def test_ml_dsa_44_is_as_strict_in_the_browser(page: browser.Page, tmp_path: Path) -> None:
    """One bit changed anywhere in a signature, in its hints at the end above all."""
    [_, _, _, good, *_] = proofs()
    proof = parse_tlog_proof(good.files["file"])
    line = proof.checkpoint.note.signatures[0]
    cases: list[Case] = []
    size = len(line.signature)
    for at in (0, 8, 40, 700, 2000, *range(size - 90, size)):
        spoiled = bytearray(line.signature)
        spoiled[at] ^= 1
        other = SignatureLine(line.name, line.key_id, bytes(spoiled))
        data = good.files["file"].replace(line.line.encode(), other.line.encode())
        cases.append(good.with_file("file", data))
    assert not any(one["verified"] for one in same(page, tmp_path, cases))


def test_the_page_is_what_its_sources_make() -> None:
    """Rebuilt byte for byte, from packages that npm takes by their pinned hashes."""
    if not (ROOT / ".venv" / "page" / "stamp").exists():
        pytest.skip("the packages are not there: scripts/page installs them, where npm is")
    command = [ROOT / "scripts" / "page", "--check"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr


def test_the_docs_state_the_digest_of_the_page() -> None:
    stated = f"{page_digest()}  {page_cases.PAGE.name}\n"
    assert stated in (ROOT / "docs" / "page.md").read_text()


def test_what_everything_rests_on_is_small_enough_to_be_read() -> None:
    names = ("bytes", "tree", "note", "policy", "proof", "evidence")
    source = page_cases.PAGE.parent / "source"
    assert sum(len((source / f"{name}.js").read_text().splitlines()) for name in names) < 1200
    assert all(len(path.read_text().splitlines()) <= 400 for path in source.glob("*.js"))
