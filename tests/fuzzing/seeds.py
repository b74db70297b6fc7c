"""Makes the seeds of the corpus, `python -m fuzzing.seeds` in tests/: a few valid objects of each
kind, by fixed keys, appended to the corpus where they are not in it yet."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec.structs import replace

import chains
import decisions
import rfc6962
from complete_tools import Indexed
from fuzzing import corpus
from fuzzing.notes import GATEWAY, LEAVES, ORIGIN
from fuzzing.targets import TARGETS
from fuzzing.wire import CUT
from governed import GATEWAY as PRODUCER
from governed import World, policy, story
from muniment.audit.statefile import AuditState, format_state
from muniment.audit.streams import OpenBatch, StreamPlace
from muniment.audit.trust import TrustState
from muniment.complete.keys import key
from muniment.lineage import build_bundle
from muniment.permit import Permit
from muniment.permit.header import format_header
from muniment.records.addenda import ARGUMENTS, take_out
from muniment.records.authority import sign_decision
from muniment.records.kinds import Decision
from muniment.records.manifest import NO_PREVIOUS, build_batch
from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from muniment.tlog.encoding import frame
from muniment.tlog.evidence import empty_root, fork, leaf, same_size
from muniment.tlog.heads import Head
from muniment.tlog.indexleaf import IndexLeaf
from muniment.tlog.keys.keyfile import format_key_file
from muniment.tlog.merkle import CompactRange, leaf_hash
from muniment.tlog.mirrorwire import MirrorInfo, Upload, encode_package
from muniment.tlog.policy import format_policy
from muniment.tlog.proofs import Node
from muniment.tlog.rightedge import TileEdge
from muniment.tlog.tlogproof import TlogProof
from muniment.tlog.witnesswire import AddCheckpoint, SignSubtree, format_cosignatures
from signing import NOW, ed25519, log_mldsa44, log_signer, mldsa44, witness, witness_mldsa44

CONTEXT = {
    "now": NOW,
    "action": "read",
    "resource": {"type": "document", "id": "7"},
    "subject": {"type": "agent", "id": "sub"},
    "execution": "call",
    "parent": "plan",
    "spiffe_id": "spiffe://example.org/agent/sub",
    "thumbprint": "sha256:" + "ab" * 32,
    "measurements": {"image": "sha256:" + "ab" * 32},
    "policy": {"id": "main", "revision": "3", "digest": "sha256:" + "ab" * 32},
    "governance": {"region": "eu"},
}


_KEYS: Final = Path(__file__).parents[1] / "keys"


def head(size: int, leaves: list[bytes] = LEAVES, *signers: object) -> SignedCheckpoint:
    """A head of the seeds' log: by its Ed25519 key and one witness, unless told otherwise."""
    checkpoint = Checkpoint(ORIGIN, size, rfc6962.MTH(leaves[:size]))
    return sign_checkpoint(checkpoint, signers or (log_signer(), witness("w")), NOW)  # type: ignore[arg-type]


def proof(index: int, leaves: list[bytes]) -> TlogProof:
    return TlogProof(index, tuple(rfc6962.PATH(index, leaves)), head(len(leaves), leaves))


def notes() -> Iterator[tuple[str, bytes]]:
    post_quantum = head(20, LEAVES, log_mldsa44(), witness_mldsa44("q"))
    for one in (head(7), post_quantum):
        yield "note", one.encode()
        yield "checkpoint", one.encode()
        yield "cosignatures", format_cosignatures(one.note.signatures[:1])
        yield "signature-line", one.note.signatures[-1].line.encode()[:-1]
    yield "checkpoint-text", head(7).checkpoint.text.encode() + b"extension\n"
    yield "tree-size", b"123\n"
    for signer in (log_signer(), witness("w"), witness_mldsa44("q")):
        yield "vkey", str(signer.vkey).encode()
    yield "policy", format_policy(policy())
    yield "policy", format_policy(policy(post_quantum=True))
    yield "policy", chains.file(chains.two_years())
    yield "policy", f"log {log_signer().vkey} https://log.example/\nquorum none\n".encode()
    yield "tlog-proof", proof(5, LEAVES).encode()
    for version in (1, 2):
        root = Head(20, rfc6962.MTH(LEAVES))
        yield "index-leaf", IndexLeaf(ORIGIN, root, leaf_hash(b"map"), version).encode()
    for old, new in ((0, 7), (7, 20), (20, 20)):
        path = tuple(rfc6962.PROOF(old, LEAVES[:new])) if 0 < old < new else ()
        yield "add-checkpoint", AddCheckpoint(old, path, head(new)).encode()
    path = tuple(rfc6962.SUBTREE_PROOF(4, 8, LEAVES))
    yield (
        "sign-subtree",
        SignSubtree(
            4, 8, rfc6962.MTH(LEAVES[4:8]), path, head(20, LEAVES, witness_mldsa44("q"))
        ).encode(),
    )
    size = len(LEAVES)
    for start in (0, 5, size):
        path = tuple(rfc6962.SUBTREE_PROOF(0, size, LEAVES)) if start < size else ()
        upload = Upload(ORIGIN, start, size, b"ticket" if start else b"").encode()
        package = encode_package(frame(LEAVES[start:]), path) if start < size else b""
        yield "upload", upload + package
    yield "mirror-info", MirrorInfo(20, 7, b"ticket").encode()
    yield "mirror-info", MirrorInfo(0, 0).encode()
    lists = [LEAVES, [*LEAVES[:4], *(b"other %d" % n for n in range(16))]]
    other = [head(size, lists[1], log_signer()) for size in (7, 20)]
    yield "evidence", same_size(head(7), other[0]).encode()
    forked = fork(head(7), other[1], rfc6962.MTH(lists[1][:7]), tuple(rfc6962.PROOF(7, lists[1])))
    yield "evidence", forked.encode()
    pair = [(proof(9, one), leaf_hash(one[9])) for one in lists]
    yield "evidence", leaf(*pair[0], *pair[1]).encode()
    bad = sign_checkpoint(Checkpoint(ORIGIN, 0, b"x" * 32), (log_signer(),), NOW)
    yield "evidence", empty_root(bad).encode()
    yield "heads", frame([head(7).encode(), head(20).encode()])


def batches() -> Iterator[tuple[str, bytes]]:
    records = decisions.decisions(3, producer=GATEWAY.vkey.name)
    batch = build_batch(ORIGIN, GATEWAY, "main", 0, NO_PREVIOUS, records)
    small = build_batch(ORIGIN, GATEWAY, "main", 5, b"p" * 32, [b"{}", b"x"])
    for one in (batch, small):
        yield "batch", one.body
        yield "manifest", one.manifest_note
        yield "bundle", one.body
        yield "built-batch", b"\x00\x00\x00\x05" + frame(one.records)
    yield "manifest", batch.manifest.text.encode()
    for path in ("0/000", "entries/x001/234.p/7", "63/x999/x999/999"):
        yield "tile-path", b"tile/" + path.encode()


def records() -> Iterator[tuple[str, bytes]]:
    world, index = story()
    world.outcome("call")
    world.revoke(execution="call")
    world.revoke(decision="d-plan")
    decision = world.records[index]
    assert isinstance(decision, Decision)
    signed = sign_decision(decision, "authority.example", ed25519("authority"))
    world.records[index] = sign_decision(signed, "second.example", mldsa44("second"))
    entries = world.entries()
    for entry in (*entries, *decisions.decisions(4, producer=PRODUCER)):
        yield "record", entry
    yield "records", frame(entries[:5])
    texts = [b"1.5", b'{"a":[1,-0.0,1e21,"\\u00e9",null,true]}', '{"\U0001f600":"é"}'.encode()]
    for text in (*texts, b'{"b":9007199254740991,"a":-9007199254740991}', b"[" * 65):
        yield "json", text
        yield "submission", text
    plain = [json.loads(entry) for entry in entries]
    for each in plain:
        for member in ("v", "id", "time", "producer"):
            each.pop(member)
    evaluation = {name: plain[0][name] for name in ("request", "response")}
    for value in (plain[0], plain[1:3], evaluation, {**evaluation, "x": 0.5}):
        yield "submission", json.dumps(value).encode()
    expected = {"request": evaluation["request"], "expected": False}
    yield (
        "submission-lines",
        b"\n".join([json.dumps(expected).encode(), b"", json.dumps(plain[1]).encode()]),
    )
    yield "context", json.dumps(CONTEXT).encode()


def disclosing() -> Iterator[tuple[str, bytes]]:
    """A decision that withholds, permits that disclose none, some and all of it, its addenda."""
    world, index = story()
    decision = world.records[index]
    assert isinstance(decision, Decision)
    decision.request["context"] = {"arguments": {"args": ["ada@mail.example", 3], "kwargs": {}}}
    decision.request["subject"]["properties"] = {"name": "Ada"}
    nonces = iter("0123456789abcdef")
    patterns = (ARGUMENTS, "/request/*/properties")
    logged, addenda = take_out(decision, patterns, lambda _: next(nonces) * 32)
    world.records[index] = replace(logged, kept="log")
    plain = world.permit(index)
    permit = Permit.of(plain.entry, plain.proof, world.records[index], held=addenda)
    yield "record", plain.entry
    for pointers in ([], [ARGUMENTS], [*(logged.addenda or {})]):
        yield "permit", permit.disclose(pointers).encode()
    entries = world.entries()
    chosen = {index: entries[index], 0: entries[0]}
    bundle = build_bundle("call", world.checkpoint(), chosen, _nodes(entries), addenda.values())
    yield "lineage-bundle", bundle.encode()


def files() -> Iterator[tuple[str, bytes]]:
    world, index = story()
    yield "permit", world.permit(index).encode()
    yield "permit", world.permit(index, post_quantum=True).encode()
    yield "permit-header", format_header("call", world.permit(index).encode().decode()).encode()
    entries = world.entries()
    chosen = {index: entries[index], 0: entries[0]}
    yield (
        "lineage-bundle",
        build_bundle("call", world.checkpoint(), chosen, _nodes(entries)).encode(),
    )
    world.revoke(execution="call")
    indexed = Indexed.of(world)
    run, revoked = key("execution", "call"), key("revocations", "execution", "call")
    agent = key("from", "agent", "ä b", "log.example/other")
    yield "complete", indexed.prove([revoked, agent]).encode()
    yield "complete", indexed.prove([run, revoked, agent], records=True).encode()
    yield "complete", indexed.prove([run], records=True, limit=2).encode()
    status = indexed.prove([run, revoked], records=True), indexed.prove([run, revoked])
    yield "permit", world.permit(index).with_status(*status).encode()
    yield from (("complete-key", one.text.encode()) for one in (run, revoked, agent))
    for private, signer in (
        (ed25519("key"), None),
        (ed25519(ORIGIN), log_signer()),
        (mldsa44(ORIGIN), log_mldsa44()),
    ):
        vkey = None if signer is None else signer.vkey
        yield "key-file", format_key_file(private, vkey, None)
    for name in (
        "ring-ed25519.der", "dalek-ed25519.pem", "go-note-ed25519.key", "go-ed25519.bin",
        "openssh-ed25519", "openssl-mldsa44-seed-only.pem", "openssl-mldsa44-seed-priv.pem",
    ):  # fmt: skip
        yield "foreign-key", (_KEYS / name).read_bytes()
    yield "foreign-key", b"# a seed\n" + bytes(range(32)).hex(":").encode()
    yield "audit-state", format_state(_state(world))
    vkey = log_signer().vkey
    common = 'listen = "127.0.0.1:0"\ndatabase = "x.db"\nkeys = ["key.pem"]\n'
    yield (
        "log-config",
        f'origin = "{ORIGIN}"\n{common}policy = "p"\nlog_level = "debug"\n'
        f'[[gateway]]\nvkey = "{GATEWAY.vkey}"\n'
        f'[[token]]\nproducer = "p"\nsha256 = "{"ab" * 32}"\n'
        "expires = 2027-01-01T00:00:00Z\n"
        f'[[read.token]]\nname = "r"\nsha256 = "{"cd" * 32}"\n[read]\ntiles = "token"\n'
        "[limits]\nparked_seconds = 0.5\ncommit_leaves = 5\n[index]\nenabled = false\n".encode(),
    )
    yield (
        "witness-config",
        f'name = "w"\n{common}[[log]]\nvkeys = ["{vkey}"]\nurl = "https://log.example/"\n'
        f'acknowledged = ["{"ab" * 32}"]\n[[peer]]\nvkeys = ["{witness("w").vkey}"]\n'
        'url = "http://127.0.0.1:1"\n[gossip]\nperiod_seconds = 1.5\n'.encode(),
    )
    yield "spool", b"\x00\x3d\x07" + b"\x10\x05\xff\x20\x08\x00"


def _nodes(entries: list[bytes]) -> dict[Node, bytes]:
    return {
        Node(level, index): rfc6962.MTH(entries[index << level : index + 1 << level])
        for level in range(len(entries).bit_length())
        for index in range(len(entries) >> level)
    }


def _state(world: World) -> AuditState:
    cosigned = policy().verify(world.checkpoint())
    edge, _ = TileEdge().append([leaf_hash(entry) for entry in world.entries()])
    place = StreamPlace(3, b"m" * 32)
    leaves = CompactRange.from_peaks(1, [leaf_hash(world.entries()[-1])])
    return AuditState(
        TrustState.on_first_use(cosigned),
        edge.partials,
        ((("gw.example", "main"), place),),
        OpenBatch(cosigned.size - 1, leaves, None),
    )


def web() -> Iterator[tuple[str, bytes]]:
    for line in (b"GET /wait?wait=published&timeout=1.5", b"HEAD /wait", b"GET /name/a%2Fb"):
        yield "request", line + b'\nW/"tag", "x"'
    yield "request", b"POST http://x/wait\ngzip;q=0.5, *;q=0"
    problem = {"type": "urn:muniment:problem:busy", "title": "Busy", "status": 503, "detail": "x"}
    receipt = {"first": 0, "count": 1, "manifest": 1, "size": 2}
    yield "answer", b"x 17\n" + json.dumps({**problem, "receipt": receipt}).encode()
    yield "answer", b"xx 1\n" + json.dumps(receipt).encode()
    yield "peer-json", b'{"evidence":[{"origin":"log.example/one","hash":"00","kind":"fork"}]}'
    status = {
        "alarms": [{"kind": "k", "subject": "s", "detail": "d"}],
        "logs": [
            {"origin": "o", "cosigned": {"size": 1, "age": 2}, "known_size": 1, "evidence": []}
        ],
        "peers": [{"name": "p", "logs": [], "error": ""}],
    }
    yield "peer-json", json.dumps(status).encode()
    for url in (b"https://log.example/a/", b"http://[::1]:80", b"http://127.0.0.1:8100?x=1"):
        yield "url", url
    for address in (b"127.0.0.1:8100", b"[::1]:0"):
        yield "address", address
    yield "proxied", b"GET /files/a%20b?x=1\nfiles.example:443\nx-user:ada\naccept:*/*\n\n"
    whole = b"content-length:2\nx-envoy-auth-partial-body:false"
    yield "proxied", b"POST /tools/x/call\n[::1]\nx-user:ada\n" + whole + b"\n\n{}"
    yield "parameters", b"a=1&wait=published&timeout=%31"


def wire() -> Iterator[tuple[str, bytes]]:
    post = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
    yield "http-server", post + b"Content-Length: 5\r\n\r\nhello"
    yield "http-server", post + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    waits = b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
    yield "http-server", post + waits + CUT + b"ok"
    yield (
        "http-server",
        b"GET /healthz HTTP/1.0\r\n\r\nHEAD /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    )


def main() -> None:
    made: dict[str, list[bytes]] = {name: [] for name in TARGETS}
    for part in (notes(), batches(), records(), disclosing(), files(), web(), wire()):
        for name, data in part:
            made[name].append(data)
    for name, inputs in made.items():
        assert inputs, name
        # Once there are seeds, more would only differ in their random signatures.
        if not corpus.load(name):
            corpus.add(name, inputs, "seeds")


if __name__ == "__main__":
    main()
