"""What a server may answer instead of what was asked for, by name; for every client of ours."""

from typing import Final

from stand import Answer

MANY: Final = 65_536
SIZE: Final = {"Content-Type": "text/x.tlog.size"}
JSON: Final = {"Content-Type": "application/json"}
PROBLEM: Final = {"Content-Type": "application/problem+json"}


def _raw(head: str, body: bytes = b"") -> Answer:
    return Answer(raw=head.replace("\n", "\r\n").encode("latin-1") + body)


ANSWERS: Final[dict[str, Answer]] = {
    "nothing at all": Answer(hang_up=True),
    "an empty 200": Answer(),
    "no HTTP": _raw("SSH-2.0-OpenSSH_9\n"),
    "HTTP/9.9": _raw("HTTP/9.9 200 OK\nContent-Length: 1\n\nx"),
    "no status": _raw("HTTP/1.1 \n\n"),
    "status 999": _raw("HTTP/1.1 999 x\nContent-Length: 1\n\nx"),
    "status 1000000": _raw("HTTP/1.1 1000000 x\nContent-Length: 1\n\nx"),
    "100 and no more": _raw("HTTP/1.1 100 Continue\n\n"),
    "100 without an end": _raw("HTTP/1.1 100 Continue\n\n" * 20_000),
    "101": _raw("HTTP/1.1 101 Switching Protocols\nUpgrade: x\nConnection: Upgrade\n\nxyz"),
    "103 before nothing": _raw("HTTP/1.1 103 Early Hints\nLink: x\n\n"),
    "204": _raw("HTTP/1.1 204 No Content\n\n"),
    "204 with a body": _raw("HTTP/1.1 204 No Content\nContent-Length: 3\n\nabc"),
    "205": _raw("HTTP/1.1 205 Reset Content\nContent-Length: 0\n\n"),
    "206": _raw("HTTP/1.1 206 Partial Content\nContent-Length: 1\nContent-Range: bytes 0-0/9\n\nx"),
    "304": _raw('HTTP/1.1 304 Not Modified\nETag: "x"\n\n'),
    "a redirect elsewhere": Answer(301, headers={"Location": "http://127.0.0.1:9/"}),
    "a redirect to itself": Answer(302, headers={"Location": "/"}),
    "a redirect to a file": Answer(307, headers={"Location": "file:///etc/passwd"}),
    "a redirect to nowhere": Answer(308, headers={"Location": "http://["}),
    **{f"status {status}": Answer(status, b"no\n") for status in (400, 401, 403, 404, 405, 410)},
    **{f"status {status}": Answer(status, b"\xff\n") for status in (422, 451, 500, 501, 503)},
    "503 for ever": Answer(503, headers={"Retry-After": "9" * 400}),
    "429 with a time that is none": Answer(429, headers={"Retry-After": "NaN"}),
    "429 with a negative time": Answer(429, headers={"Retry-After": "-1"}),
    "truncated": _raw("HTTP/1.1 200 OK\nContent-Length: 100\n\nx"),
    "truncated chunks": _raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nfffffff\nabc"),
    "chunks of no size": _raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nxyz\nabc\n0\n\n"),
    "a length beyond counting": _raw(f"HTTP/1.1 200 OK\nContent-Length: {'9' * 5000}\n\nx"),
    "a large length": _raw("HTTP/1.1 200 OK\nContent-Length: 9223372036854775807\n\nx"),
    "a negative length": _raw("HTTP/1.1 200 OK\nContent-Length: -1\n\nx"),
    "a length that is none": _raw("HTTP/1.1 200 OK\nContent-Length: NaN\n\nx"),
    "two lengths": _raw("HTTP/1.1 200 OK\nContent-Length: 3\nContent-Length: 9\n\nabc"),
    "more than its length": _raw("HTTP/1.1 200 OK\nContent-Length: 1\n\nxHTTP/1.1 200 OK\n\n"),
    "huge": Answer(body=b"a" * MANY, repeat=64, length=False),
    "huge and announced": Answer(body=b"a" * MANY, repeat=64),
    "a header without an end": _raw("HTTP/1.1 200 OK\nX: " + "y" * 200_000),
    "headers without an end": _raw("HTTP/1.1 200 OK\n" + "X: y\n" * 50_000),
    "headers of odd bytes": _raw("HTTP/1.1 200 OK\nX\xff: \xfe\nContent-Length: 1\n\nx"),
    "a folded header": _raw("HTTP/1.1 200 OK\nX: y\n z\nContent-Length: 1\n\nx"),
    "no gzip": Answer(body=b"x", headers={"Content-Encoding": "gzip"}),
    "another coding": Answer(body=b"x", headers={"Content-Encoding": "br"}),
    "HTML": Answer(body=b"<html>hello from a proxy</html>", headers={"Content-Type": "text/html"}),
    "invalid UTF-8": Answer(body=b"\xff\xfe\n" * 10),
    "NUL": Answer(body=b"\0" * 100),
    "surrogates": Answer(body=b'{"detail":"\\ud800","type":"\\udfff"}', headers=JSON),
    "deep JSON": Answer(body=b"[" * 30_000, headers=JSON),
    "deep JSON members": Answer(body=b'{"a":' * 10_000, headers=JSON),
    "JSON of other types": Answer(
        body=b'{"next":"x","manifest":7,"proof":{},"evidence":[1],"first":[],"size":null}',
        headers=JSON,
    ),
    "JSON that is negative": Answer(
        body=b'{"next":-1,"manifest":"","first":-1,"count":-1,"size":-1,"proof":["x"]}',
        headers=JSON,
    ),
    "JSON that is no number": Answer(body=b'{"next":NaN,"size":1e999}', headers=JSON),
    "JSON beyond counting": Answer(
        body=b'{"next":%(n)b,"first":%(n)b,"count":%(n)b,"manifest":%(n)b,"size":%(n)b}'
        % {b"n": b"9" * 5000},
        headers=JSON,
    ),
    "a list": Answer(body=b"[]", headers=JSON),
    "null": Answer(body=b"null", headers=JSON),
    "a problem that is none": Answer(503, b'{"type":7,"detail":[],"status":"x"}', headers=PROBLEM),
    "a deep problem": Answer(503, b'{"a":' * 10_000, headers=PROBLEM),
    "a checkpoint beyond counting": Answer(
        body=b"log.example/x\n" + b"9" * 5000 + b"\n" + b"A" * 43 + "=\n\n— a AAAAAAA=\n".encode()
    ),
    "a negative checkpoint": Answer(
        body=b"log.example/x\n-1\n" + b"A" * 43 + "=\n\n— a AAAAAAA=\n".encode()
    ),
    "many lines": Answer(body="— witness.example/w1 AAAAAAA=\n".encode() * 10_000),
    "the same line again": Answer(body="— witness.example/w1 AAAAAAA=\n".encode() * 60),
    "empty lines": Answer(body=b"\n" * 100_000),
    "a size beyond counting": Answer(409, b"9" * 5000 + b"\n", headers=SIZE),
    "the largest size": Answer(409, b"9223372036854775807\n", headers=SIZE),
    "one more than the largest size": Answer(409, b"9223372036854775808\n", headers=SIZE),
    "a negative size": Answer(409, b"-1\n", headers=SIZE),
    "a size that is no number": Answer(409, b"NaN\n", headers=SIZE),
    "no size": Answer(409, b"", headers=SIZE),
    "always another size": Answer(409, b"0\n", headers=SIZE),
    "a conflict of another type": Answer(409, b"7\n"),
}

LATE: Final[dict[str, Answer]] = {
    "much too late": Answer(delay=60.0),
    "a byte now and then": Answer(body=b"a", repeat=1_000, pause=0.2),
}
"""What takes a client's whole deadline: each costs its seconds."""
