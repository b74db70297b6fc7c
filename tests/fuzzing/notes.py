"""Fuzz targets of everything that is text with signatures: C2SP formats, manifests, evidence."""

from contextlib import suppress
from typing import Final

import governed
from fuzzing.law import bytes_of, parsed, target, text_of
from judging import HeadState, decide
from muniment.records.manifest import (
    NO_PREVIOUS,
    build_batch,
    parse_batch,
    parse_manifest,
    parse_manifest_text,
    verify_batch,
    verify_manifest,
)
from muniment.tlog import quorum
from muniment.tlog.checkpoint import Checkpoint, parse_checkpoint, parse_signed_checkpoint
from muniment.tlog.cosignature import MLDSA44Verifier, verifier_for
from muniment.tlog.encoding import FormatError, VerificationError, frame, unframe
from muniment.tlog.evidence import describe, explain, parse_evidence, verify_evidence
from muniment.tlog.indexleaf import parse_index_leaf
from muniment.tlog.merkle import leaf_hashes
from muniment.tlog.mirrorwire import Package, UploadReader, parse_mirror_info
from muniment.tlog.note import parse_note, parse_signature_line, parse_vkey, verify_note
from muniment.tlog.policy import Policy, PolicyLog, PolicyWitness, format_policy, parse_policy
from muniment.tlog.policychain import PolicyChain
from muniment.tlog.tiles import parse_tile_path
from muniment.tlog.tlogproof import parse_tlog_proof, verify_tlog_proof
from muniment.tlog.witnesswire import (
    format_cosignatures,
    format_size,
    parse_add_checkpoint,
    parse_cosignatures,
    parse_sign_subtree,
    parse_size,
)
from muniment_witness.judge.decide import NEVER, Acceptance, Head, KnownLog, Refusal, decide_subtree
from muniment_witness.judge.mirroring import verify_package
from rfc6962 import MTH
from signing import NOW, ORIGIN, log_mldsa44, log_signer, witness, witness_mldsa44

VERIFIERS: Final = tuple(verifier_for(one.vkey) for one in (log_signer(), log_mldsa44()))
POLICY: Final = Policy(
    (PolicyLog(log_signer().vkey), PolicyLog(log_mldsa44().vkey)),
    (PolicyWitness("w", witness("w").vkey), PolicyWitness("q", witness_mldsa44("q").vkey)),
    (),
    "w",
)
GOVERNED: Final = governed.policy()
OWN: Final = (MLDSA44Verifier(witness_mldsa44("q").vkey),)
GATEWAY: Final = log_signer("gw.example/edge")
LEAVES: Final = [b"leaf %d" % number for number in range(20)]
"""The tree of the seeds of add-checkpoint and sign-subtree."""

_STATES: Final = [
    HeadState(KnownLog(ORIGIN, VERIFIERS), NEVER if not size else Head(size, MTH(LEAVES[:size])), 0)
    for size in (0, 7, 20)
]


@target("note")
def _note(data: bytes) -> None:
    note = parsed(parse_note, lambda note: note.encode(), data)
    if note is not None:
        lines = data[data.rfind(b"\n\n") + 2 : -1].decode().split("\n")
        assert note.signatures == tuple(map(parse_signature_line, lines))
        with suppress(VerificationError):
            verify_note(note, (*VERIFIERS, *OWN))


@target("checkpoint")
def _checkpoint(data: bytes) -> None:
    signed = parsed(parse_signed_checkpoint, lambda signed: signed.encode(), data)
    if signed is not None:
        for policy in (POLICY, GOVERNED):
            with suppress(VerificationError):
                assert policy.verify(signed).signed == signed


@target("checkpoint-text")
def _checkpoint_text(data: bytes) -> None:
    def written(checkpoint: Checkpoint) -> bytes:
        return bytes_of(checkpoint.text)

    parsed(lambda data: parse_checkpoint(text_of(data)), written, data)


@target("signature-line")
def _signature_line(data: bytes) -> None:
    line = parsed(
        lambda data: parse_signature_line(text_of(data)),
        lambda line: bytes_of(line.line.removesuffix("\n")),
        data,
    )
    if line is not None:
        for verifier in (*VERIFIERS, *OWN):
            with suppress(VerificationError):
                verifier.verify("log.example/one\n1\nAAAA\n", line.signature)


@target("cosignatures")
def _cosignatures(data: bytes) -> None:
    parsed(parse_cosignatures, format_cosignatures, data)


@target("tree-size")
def _tree_size(data: bytes) -> None:
    parsed(parse_size, format_size, data)


@target("vkey")
def _vkey(data: bytes) -> None:
    vkey = parsed(lambda data: parse_vkey(text_of(data)), lambda vkey: bytes_of(str(vkey)), data)
    if vkey is not None:
        with suppress(FormatError):
            verifier = verifier_for(vkey)
            with suppress(VerificationError):
                verifier.verify("text\n", bytes(72))


@target("policy")
def _policy(data: bytes) -> None:
    policy = parsed(parse_policy, None, data)
    if policy is not None:
        written = format_policy(policy)
        assert parse_policy(written) == policy
        assert written == data or not isinstance(policy, PolicyChain)
        assert format_policy(parse_policy(written)) == written
        found = quorum.analyse(policy)
        assert found.smallest <= len(policy.witnesses)
        with suppress(VerificationError):
            policy.verify(_SIGNED)


_SIGNED: Final = governed.story()[0].checkpoint()


@target("tlog-proof")
def _tlog_proof(data: bytes) -> None:
    proof = parsed(parse_tlog_proof, lambda proof: proof.encode(), data)
    if proof is not None:
        with suppress(VerificationError):
            verify_tlog_proof(proof, proof.extra or b"", GOVERNED)


@target("index-leaf")
def _index_leaf(data: bytes) -> None:
    parsed(parse_index_leaf, lambda leaf: leaf.encode(), data)


@target("add-checkpoint")
def _add_checkpoint(data: bytes) -> None:
    request = parsed(parse_add_checkpoint, lambda request: request.encode(), data)
    if request is not None and request.checkpoint.checkpoint.origin == ORIGIN:
        for state in _STATES:
            outcome = decide(state, request, NOW)
            assert isinstance(outcome, Acceptance | Refusal)
            if isinstance(outcome, Acceptance):
                # The only head of this log that continues the seeds' tree.
                size = outcome.head.size
                assert outcome.head.root == MTH(LEAVES[:size]) or not state.head.size


@target("sign-subtree")
def _sign_subtree(data: bytes) -> None:
    request = parsed(parse_sign_subtree, lambda request: request.encode(), data)
    if request is not None:
        judged = decide_subtree(OWN, known=True, request=request)
        if not isinstance(judged, Refusal):
            assert request.hash == MTH(LEAVES[request.start : request.end])


@target("upload")
def _upload(data: bytes) -> None:
    """What is sent to a mirror, whole and in two pieces: the same packages, of the log alone."""

    def read(*pieces: bytes) -> list[Package]:
        reader, upload, found = UploadReader(), None, list[Package]()
        for piece in pieces:
            reader.feed(piece)
            upload = upload or reader.header()
            while upload is not None and (package := reader.package()) is not None:
                found.append(package)
        return found

    with suppress(FormatError):
        packages = read(data)
        assert read(data[: len(data) // 2], data[len(data) // 2 :]) == packages
        for package in packages:
            place = package.place
            if place.end <= len(LEAVES):
                before = leaf_hashes(LEAVES[place.base : place.start])
                with suppress(VerificationError):
                    verify_package(package, before, Head(len(LEAVES), MTH(LEAVES)))
                    assert list(package.entries) == LEAVES[place.start : place.end]


@target("mirror-info")
def _mirror_info(data: bytes) -> None:
    parsed(parse_mirror_info, lambda info: info.encode(), data)


@target("manifest")
def _manifest(data: bytes) -> None:
    found = parsed(parse_manifest, lambda pair: pair[1].encode(), data)
    if found is not None:
        manifest, note = found
        assert manifest.text == note.text
        with suppress(VerificationError):
            verify_manifest(data, (verifier_for(GATEWAY.vkey), *VERIFIERS))
    parsed(
        lambda data: parse_manifest_text(text_of(data)),
        lambda manifest: bytes_of(manifest.text),
        data,
    )


@target("batch")
def _batch(data: bytes) -> None:
    batch = parsed(parse_batch, lambda batch: frame([*batch.records, batch.manifest_note]), data)
    if batch is not None:
        assert batch.framed(0, len(batch.offsets)) == data
        assert batch.manifest.root == MTH(batch.records)
        with suppress(VerificationError):
            verify_batch(batch, (verifier_for(GATEWAY.vkey),), origin=ORIGIN)


@target("built-batch")
def _built_batch(data: bytes) -> None:
    """A batch made of any records parses, and changing one byte of it is noticed."""
    place, entries = data[:4], data[4:]
    try:
        records = unframe(entries)
        batch = build_batch(ORIGIN, GATEWAY, "main", 0, NO_PREVIOUS, records)
    except FormatError:
        return
    assert parse_batch(batch.body) == batch
    verify_batch(batch, (verifier_for(GATEWAY.vkey),), origin=ORIGIN)
    at = int.from_bytes(place, "big") % len(batch.body)
    body = bytearray(batch.body)
    body[at] ^= 1 << place[0] % 8 if place else 1
    try:
        verify_batch(parse_batch(bytes(body)), (verifier_for(GATEWAY.vkey),), origin=ORIGIN)
    except (FormatError, VerificationError):
        return
    raise AssertionError("a changed batch verifies")


@target("bundle")
def _bundle(data: bytes) -> None:
    parsed(unframe, frame, data)


@target("tile-path")
def _tile_path(data: bytes) -> None:
    tile = parsed(
        lambda data: parse_tile_path(text_of(data)), lambda tile: bytes_of(tile.path), data
    )
    if tile is not None:
        assert 0 <= tile.start < tile.end


@target("evidence")
def _evidence(data: bytes) -> None:
    evidence = parsed(parse_evidence, lambda evidence: evidence.encode(), data)
    if evidence is not None:
        assert all(line.isprintable() for line in describe(evidence))
        with suppress(VerificationError):
            explain(verify_evidence(evidence, VERIFIERS))
