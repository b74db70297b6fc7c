"""The kept corpus of requests to a witness, and how it was made.

    for case in load(): case.method, case.path, case.body, case.statuses

tests/corpus/witness holds one file for each body, `log.vkey` (the log that the requests are of,
whose private key was not kept) and `cases.json`: for each file the endpoint, and the statuses that
a witness may answer, whatever it has cosigned before. `python tests/witness_corpus.py` makes all of
it anew, of a new log; keep a body that has found a defect by adding its file and a line.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "corpus" / "witness"

OVERSIZED = 3 << 20
"""What `oversized` bodies are repeated up to; no endpoint takes so much."""


class Case(NamedTuple):
    """One request; `statuses` are those that are right in some state of the witness."""

    name: str
    method: str
    path: str
    body: bytes
    statuses: frozenset[int]


def load() -> list[Case]:
    """Reads the corpus; bodies of oversized cases are made as large as they should be."""
    cases = []
    for name, case in json.loads((FOLDER / "cases.json").read_text()).items():
        body = (FOLDER / name).read_bytes() if case["method"] == "POST" else b""
        if "oversized" in name:
            body *= OVERSIZED // len(body) + 1
        cases.append(Case(name, case["method"], case["path"], body, frozenset(case["statuses"])))
    return cases


def vkey() -> str:
    """The vkey of the log that the requests are of."""
    return (FOLDER / "log.vkey").read_text().strip()


def _made() -> Iterator[Case]:
    from byzantine import View, bad_signature, poisoned, unsigned
    from muniment.tlog.encoding import frame
    from muniment.tlog.evidence import same_size
    from muniment.tlog.witnesswire import SignSubtree, origin_hash

    view = View("log.example/corpus").append(40)
    other = view.fork(7, 40)
    (FOLDER / "log.vkey").write_text(view.vkeys[0] + "\n")

    def add(name: str, body: bytes, *statuses: int) -> Case:
        return Case(f"add-{name}", "POST", "/add-checkpoint", body, frozenset(statuses))

    def heads(name: str, body: bytes, *statuses: int) -> Case:
        return Case(f"heads-{name}", "POST", "/gossip/heads", body, frozenset(statuses))

    def filed(name: str, body: bytes, *statuses: int) -> Case:
        return Case(f"evidence-{name}", "POST", "/gossip/evidence", body, frozenset(statuses))

    def subtree(name: str, body: bytes, *statuses: int) -> Case:
        return Case(f"subtree-{name}", "POST", "/sign-subtree", body, frozenset(statuses))

    good, grown = view.add_checkpoint(0, 10).encode(), view.add_checkpoint(10, 30).encode()
    signed = view.checkpoint(30)
    # 403 also: after the evidence among these files the log is held.
    yield add("first", good, 200, 409, 403)
    yield add("grown", grown, 200, 409, 403)
    yield add("again", view.add_checkpoint(30, 30).encode(), 200, 409, 403)
    yield add("backwards", good.replace(b"old 0\n", b"old 11\n"), 400, 403)
    yield add("fork", other.add_checkpoint(10, 30).encode(), 403, 409, 422)
    yield add("bad-signature", _request(good, bad_signature(view.checkpoint(10)).encode()), 403)
    yield add("poisoned", _request(good, poisoned(view.checkpoint(10)).encode()), 403)
    yield add("unsigned", _request(good, unsigned(view.checkpoint(10)).encode()), 403)
    yield add(
        "empty-root", _request(good, view.checkpoint(0, root=view.root(5)).encode()), 403, 422
    )
    yield add("unknown-origin", View("other.example").append(3).add_checkpoint(0).encode(), 404)
    yield add("empty", b"", 400)
    yield add("truncated-header", grown[: grown.index(b"\n\n")], 400)
    yield add("truncated-note", grown[:-20], 400)
    yield add("crlf", good.replace(b"\n", b"\r\n"), 400)
    yield add("nul", good.replace(b"old 0", b"old 0\0"), 400)
    yield add("leading-zero", good.replace(b"old 0", b"old 00"), 400)
    yield add("plus-sign", good.replace(b"old 0", b"old +0"), 400)
    yield add("other-digits", good.replace(b"old 0", "old ٠".encode()), 400)
    yield add("huge-number", good.replace(b"old 0", b"old " + b"9" * 400), 400)
    yield add("not-utf8", good.replace(b"log.example", b"log.\xff\xfeample"), 400)
    yield add("line-separator", good.replace(b"old 0", "old 0\u2028".encode()), 400)
    yield add("too-long-proof", b"old 5\n" + (b"A" * 43 + b"=\n") * 64 + good[5:], 400)
    yield add("non-canonical-base64", grown.replace(b"=\n", b"B=\n", 1), 400)
    yield add("spoiled-proof", _swapped(grown), 403, 409, 422)
    yield add("oversized", good, 413)
    yield add("proxy-page", b"<html>502 Bad Gateway</html>", 400)
    bundle = frame([signed.encode(), view.checkpoint(5).encode()])
    yield heads("two", bundle, 200)
    yield heads("none", b"", 200)
    yield heads("fork", frame([other.checkpoint(30).encode()]), 200)
    yield heads("truncated", bundle[:-3], 400)
    yield heads("length-too-large", b"\xff\xff" + signed.encode(), 400)
    yield heads("one-byte", b"\x00", 400)
    yield heads("empty-notes", bytes(2 * 100), 400)
    yield heads("too-many", bytes(2 * 1000), 400)
    yield heads("bad-signature", frame([bad_signature(signed).encode()]), 200, 403)
    yield heads(
        "unknown-origin", frame([View("other.example").append(3).checkpoint().encode()]), 200
    )
    yield heads("oversized", bundle, 413)
    yield heads("text", signed.encode(), 400)
    file = same_size(view.checkpoint(20), other.checkpoint(20)).encode()
    stranger = View(view.origin).append(20)
    forged = same_size(stranger.checkpoint(20), other.checkpoint(20)).encode()
    # 200 also: a file that claims what is known already is not looked at (`"new": false`).
    yield filed("forged", forged, 200, 422, 503)
    yield filed("empty", b"", 400)
    yield filed("truncated", file[:-5], 400)
    yield filed("half", file[: len(file) // 2], 400)
    yield filed("mutated", file.replace(b"A", b"B", 1), 200, 400, 422, 503)
    yield filed("doubled", file + file, 400)
    yield filed("oversized", file, 413)
    yield filed("binary", bytes(range(256)), 400)
    yield filed("same-size", file, 200, 503)
    asked = SignSubtree(0, 4, view.root(4), view.proof(4, 30), signed).encode()
    yield subtree("no-cosignature", asked, 403, 501)
    yield subtree("empty", b"", 400, 501)
    yield subtree("truncated", asked[:30], 400, 501)
    yield subtree("oversized", asked, 413, 501)
    yield subtree("not-a-subtree", asked.replace(b" 0 4\n", b" 1 4\n"), 400, 403, 501)
    below = f"/{origin_hash(view.origin)}"
    for number, (path, *statuses) in enumerate(
        (
            ("/", 200),
            ("/status.json", 200),
            (below + "/checkpoint", 200, 404),
            (below + "/checkpoint?x=1", 200, 404),
            (below + "/tile/0/000", 200, 404),
            (below + "/tile/0/x001/000", 200, 404),
            (below + "/tile/64/000", 404),
            (below + "/tile/0/../../../etc/passwd", 404),
            (below + "/tile/", 404),
            (below + "/history/0", 200, 404),
            (below + "/history/" + "9" * 500, 400),
            (below + "/history/-1", 400),
            (below + "/history/%00", 400),
            (below + "/shown-by/" + "0" * 64, 404),
            (below + "/shown-by/..%2f", 404),
            (below.upper() + "/checkpoint", 404),
            ("/" + "0" * 64 + "/checkpoint", 404),
            ("/gossip/heads", 200),
            ("/gossip/evidence", 200),
            ("/gossip/evidence/" + "0" * 64, 404),
            ("/gossip/evidence/../../witness.db", 404),
            ("/gossip/evidence/%ff%fe", 404),
            ("/add-checkpoint", 405),
            ("/sign-subtree", 405),
            ("/gossip", 404),
            ("//", 404),
            ("/" + "a" * 4000, 404),
        )
    ):
        yield Case(f"get-{number:02}", "GET", path, b"", frozenset(statuses))


def _request(valid: bytes, note: bytes) -> bytes:
    """The header of a valid request with another note."""
    return valid[: valid.index(b"\n\n") + 2] + note


def _swapped(valid: bytes) -> bytes:
    """A request whose first two proof hashes have changed places."""
    lines = valid.split(b"\n")
    return b"\n".join([lines[0], lines[2], lines[1], *lines[3:]])


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    listed = {}
    for made in _made():
        if made.method == "POST":
            (FOLDER / made.name).write_bytes(made.body)
        listed[made.name] = {
            "method": made.method,
            "path": made.path,
            "statuses": sorted(made.statuses),
        }
    (FOLDER / "cases.json").write_text(json.dumps(listed, indent=1) + "\n")
