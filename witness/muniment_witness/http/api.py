"""C2SP tlog-witness over HTTP: add-checkpoint, sign-subtree and the monitoring endpoint.

This module only converts; `decide` judges and `cosigner` moves heads. Every refusal is problem+json
except the 409 of add-checkpoint, whose body the specification fixes. A witness without an
ML-DSA-44 key answers sign-subtree with 501: the call is optional, and 404 would read as "unknown
origin".
"""

import asyncio
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from muniment.local.sqlitefile import FatalDatabaseError
from muniment.tlog.cosignature import MLDSA44Cosigner, MLDSA44Verifier
from muniment.tlog.encoding import VerificationError
from muniment.tlog.witnesswire import (
    MAX_REQUEST_SIZE,
    SIZE_CONTENT_TYPE,
    SignSubtree,
    format_cosignatures,
    format_size,
    format_subtree_signature,
    origin_hash,
    parse_add_checkpoint,
    parse_sign_subtree,
)
from muniment_service.http import Handler, Problem, Request, Response, json_response, overloaded
from muniment_service.metrics import Metrics
from muniment_service.routing import App
from muniment_witness.gossip.watch import Watch
from muniment_witness.http.about import add_about
from muniment_witness.http.gossip import add_routes
from muniment_witness.http.mirror import MirrorHttp
from muniment_witness.judge.decide import Refusal, authenticate, decide_subtree
from muniment_witness.mirror.copies import CopyDivergedError

MAX_SUBTREES: Final = 32
"""Subtrees being signed at one time; ML-DSA-44 takes about a millisecond each."""

MONITORING_SECONDS: Final = 5
"""How long a cache may serve a checkpoint; the specification allows an hour."""

ERRORS: Final[dict[type[Exception], tuple[int, str]]] = {
    VerificationError: (422, "proves-nothing"),
    FatalDatabaseError: (503, "storage-failed"),
    CopyDivergedError: (503, "copy-damaged"),
}

_TEXT: Final = "text/plain; charset=utf-8"


class WitnessHttp:
    """The handlers of one witness."""

    def __init__(self, watch: Watch, metrics: Metrics, mirror: MirrorHttp | None) -> None:
        """Answers for the parts of one witness, and counts in `metrics`.

        A mirror beside it has the same submission prefix, and takes its heads for pending.
        """
        config = watch.shared.config
        self._watch = watch
        self._name = config.name
        self._logs = config.logs
        self._mirror = mirror
        self._cosigns = bool(config.signers)
        mirroring = () if config.mirror is None else config.mirror.signers
        # Each key signs subtrees of what it has cosigned itself, so that the two never mix.
        signers = [one for one in (*config.signers, *mirroring) if isinstance(one, MLDSA44Cosigner)]
        self._subtree_signers = {one.vkey: one for one in signers}
        self._own = tuple(MLDSA44Verifier(one.vkey) for one in signers)
        self._store = watch.shared.store
        self._cosigner = watch.cosigner
        self._subtrees = 0
        self._metrics = metrics
        outcomes = metrics.counter(
            "checkpoints", "Answers to add-checkpoint by outcome.", ("outcome",)
        )
        asked = metrics.counter(
            "log_requests", "Requests of known logs to add-checkpoint.", ("origin", "result")
        )
        # To find a counter by its labels takes longer than to count.
        self._outcome = cache(outcomes.labels)
        self._asked = cache(asked.labels)

    def app(self) -> App:
        """Makes the routes."""
        app = App(self._metrics, ERRORS, for_pages=True)
        app.operations(self._ready)
        add_routes(app, self._watch)
        if self._cosigns:
            add_about(app, self._watch)
        if self._mirror is not None:
            self._mirror.add_to(app)
        app.route("GET", "/openapi.json", self._openapi)
        app.route("POST", "/add-checkpoint", self._add_checkpoint)
        app.route("POST", "/sign-subtree", self._sign_subtree)
        if not self._cosigns:
            return app
        # A log that is no longer configured stays readable: what was cosigned was cosigned.
        for origin in sorted(self._logs.keys() | self._store.latest.keys()):
            path = f"/{origin_hash(origin)}/checkpoint"
            app.route("GET", path, self._monitoring(origin), label="/{origin hash}/checkpoint")
        return app

    def _ready(self) -> Mapping[str, Any]:
        if self._cosigner.clock_is_behind:
            raise Problem(503, "clock", "the clock is behind the newest cosignature")
        return {"logs": len(self._logs), "alarms": len(self._watch.alarms)}

    async def _openapi(self, _: Request) -> Response:
        from muniment_witness.http.openapi import document  # noqa: PLC0415  # hardly ever asked for

        path = None if self._mirror is None else self._mirror.path
        return json_response(document(self._name, cosigns=self._cosigns, mirror=path))

    async def _add_checkpoint(self, request: Request) -> Response:
        body = await request.body(MAX_REQUEST_SIZE)
        call = parse_add_checkpoint(body)
        origin = call.checkpoint.checkpoint.origin
        known = self._logs.get(origin) if _may_be_about(request, origin) else None
        judged = authenticate(known, call)
        if isinstance(judged, Refusal):
            return self._refuse(judged)
        grows = judged.checkpoint.size > self._store.head(origin).size
        if seconds := self._watch.quotas.take(origin, grows=grows):
            self._outcome("over-quota").inc()
            self._asked(origin, "over-quota").inc()
            detail = "this log has asked more often than its quota allows"
            headers = {"Retry-After": str(seconds)}
            raise Problem(429, "over-quota", detail, headers=headers)
        await self._watch.requests.prepare(judged)
        await self._watch.advancer.indices.judge(judged)
        outcome = await self._cosigner.add_checkpoint(judged)
        if isinstance(outcome, Refusal):
            if grows:
                self._watch.quotas.give_back(origin)
            # Durable before the answer: what proves misbehaviour must not be lost with it.
            await self._watch.requests.keep(judged, outcome, body)
            self._asked(origin, "refused").inc()
            return self._refuse(outcome)
        self._outcome("cosigned").inc()
        self._asked(origin, "cosigned").inc()
        self._watch.announcer.announce(origin, outcome.latest)
        # A mirror alone has taken the checkpoint for pending, and signs nothing here.
        lines = format_cosignatures(outcome.lines) if self._cosigns else b""
        return Response(200, lines, _TEXT)

    def _refuse(self, refused: Refusal) -> Response:
        self._outcome(refused.slug).inc()
        return _refusal(refused)

    async def _sign_subtree(self, request: Request) -> Response:
        if not self._subtree_signers:
            raise Problem(501, "not-supported", "this witness has no key that signs subtrees")
        call = parse_sign_subtree(await request.body(MAX_REQUEST_SIZE))
        origin = call.reference.checkpoint.origin
        known = origin in self._logs and _may_be_about(request, origin)
        if self._subtrees >= MAX_SUBTREES:
            raise overloaded("busy", "too many subtrees are being signed; try again")
        self._subtrees += 1
        try:
            # On another thread: signing takes a millisecond, and add-checkpoint shall not wait.
            outcome = await asyncio.to_thread(self._cosign_subtree, call, known=known)
        finally:
            self._subtrees -= 1
        if isinstance(outcome, Refusal):
            return _refusal(outcome)
        return Response(200, format_subtree_signature(outcome), _TEXT)

    def _cosign_subtree(self, call: SignSubtree, *, known: bool) -> bytes | Refusal:
        origin = call.reference.checkpoint.origin
        judged = decide_subtree(self._own, known=known, request=call)
        if isinstance(judged, Refusal):
            return judged
        signer = self._subtree_signers[judged]
        return signer.sign_subtree(origin, call.start, call.end, call.hash)

    def _monitoring(self, origin: str) -> Handler:
        async def checkpoint(_: Request) -> Response:
            latest = self._store.latest.get(origin)
            if latest is None:
                raise Problem(404, "never-cosigned", "no checkpoint of this log was cosigned yet")
            headers = {
                "ETag": latest.etag,
                "Cache-Control": f"public, max-age={MONITORING_SECONDS}",
            }
            return Response(200, latest.note, _TEXT, headers)

        return checkpoint


def _may_be_about(request: Request, origin: str) -> bool:
    """Whether a request for a log may come the way that it came."""
    return request.about is None or origin in request.about


def _refusal(refused: Refusal) -> Response:
    if refused.size is not None:
        return Response(refused.status, format_size(refused.size), SIZE_CONTENT_TYPE)
    headers = {"Retry-After": "1"} if refused.status == 503 else None
    return Problem(refused.status, refused.slug, refused.detail, headers=headers).response()
