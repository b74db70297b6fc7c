"""What `muniment-gateway doctor` checks, each by really asking, and what to do about it."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

from muniment.errors import BadAnswer, MunimentError, Refused
from muniment.http.access import READ_TOKEN_FILE
from muniment.http.answer import HttpError
from muniment.http.client import HttpSession
from muniment.http.logclient import LogClient
from muniment.records.manifest import NO_PREVIOUS, Manifest, sign_manifest
from muniment.tlog.encoding import frame
from muniment.tlog.policy import CosignedCheckpoint
from muniment_gateway.config import GatewayConfig
from muniment_gateway.core.approvals import People
from muniment_gateway.deciding.counts import Counts
from muniment_gateway.deciding.panel import Panel
from muniment_gateway.deciding.readiness import why_not_ready
from muniment_gateway.engines.port import PassedOn
from muniment_gateway.envoy.messages import Messages
from muniment_gateway.proxytable import Proxy
from muniment_gateway.store.held import HeldCalls
from muniment_service import unixsocket
from muniment_service.metrics import Metrics

ASK_TIMEOUT: Final = 5.0
"""Deadline of one question."""

MOST_APART: Final = 5.0
"""Seconds that this machine's clock may differ from another one's."""

OLDEST_HEAD: Final = 300
"""Oldest cosigned head, in seconds: an idle log has its head cosigned every two minutes."""

_SMALL: Final = 64 << 10
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class DoctorCheck(NamedTuple):
    """One check: what was looked at, what is wrong (empty for nothing), and what was seen."""

    subject: str
    wrong: str
    seen: str = ""


async def examine(config: GatewayConfig) -> AsyncIterator[DoctorCheck]:
    """Checks the log, its witnesses, key and clock, the engines, the proxies and the files.

    And what the gateway itself says of the log, when it runs.
    """
    access = config.file.outgoing.access
    async with HttpSession(headers={"User-Agent": access.agent()}, tls=access.ssl()) as http:
        async for finding in _log(config, http):
            yield finding
        async for finding in _engines(config, http):
            yield finding
    for people in config.people:
        yield await _people(config, people)
    for proxy in config.proxies:
        yield _proxy(config, proxy)
    for path, what in ((config.file.spool, "spool"), (config.file.database, "database")):
        yield await asyncio.to_thread(_place, path, what)
    running = await asyncio.to_thread(_running, config)
    if running is not None:
        yield running


async def _log(config: GatewayConfig, http: HttpSession) -> AsyncIterator[DoctorCheck]:
    url = config.file.log.rstrip("/")
    try:
        answer = await http.request("GET", f"{url}/readyz", limit=_SMALL, seconds=ASK_TIMEOUT)
    except (HttpError, TimeoutError) as error:
        why = str(error) or "in time"
        yield DoctorCheck("log", f"{url} does not answer ({why}): {_advice(url, why)}")
        return
    ready = answer.status == 200
    detail = "" if ready else f"{url} is not ready: {why_not_ready(answer)}"
    yield DoctorCheck("log", detail, f"{url} is ready")
    yield _clock(answer.headers.get("date"))
    async with LogClient(url, timeout=ASK_TIMEOUT, access=config.access) as client:
        try:
            policy = config.policy.at(int(time.time()))
            cosigned = policy.verify(await client.checkpoint())
        except MunimentError as error:
            yield DoctorCheck("witnesses", f"no head that the policy accepts: {error}")
        else:
            yield _head(cosigned)
        yield await _key(config, client)


def _advice(url: str, why: str) -> str:
    """What to look at first when a log does not answer."""
    if why.startswith("TLS: "):
        return "does `ca` of [outgoing] have the CA of its certificate?"
    if url.startswith("http:") and "closed the connection" in why:
        return "is it running there, and without TLS?"
    return "is it running there?"


async def _key(config: GatewayConfig, client: LogClient) -> DoctorCheck:
    """Whether the log takes what the gateway's key signs, and where the stream stands."""
    name, stream = config.file.name, config.file.stream
    try:
        head = await client.stream(name, stream)
        if head.origin not in {"", config.origin}:
            return DoctorCheck("key", f"the log is {head.origin}")
        await _try_key(config, client)
    except Refused as error:
        if error.problem.status == HTTPStatus.UNAUTHORIZED:
            return DoctorCheck(
                "key", f"{error}: {READ_TOKEN_FILE} names the file with a read token"
            )
        if error.problem.slug not in {"unknown-gateway", "bad-signature"}:
            return DoctorCheck("key", f"the log was asked about it, and refused: {error}")
        add = f'add [[gateway]] vkey = "{config.signer.vkey}" to its log.toml, and reload it'
        return DoctorCheck("key", f"the log does not take what {name} signs ({error}): {add}")
    except MunimentError as error:
        return DoctorCheck("key", str(error))
    return DoctorCheck("key", "", f"stream {stream} is at record {head.next}")


async def _try_key(config: GatewayConfig, client: LogClient) -> None:
    """Has the log verify a signature of the key; ``Refused`` if it does not believe it.

    The log is shown a batch that it can never take: the signed manifest is of records that nobody
    has, since its root is random. A log verifies the signature first, so whoever hears of the
    records was believed, and nothing is logged. Each trial has a stream of its own: two manifests
    of one place would be two stories of the gateway's.
    """
    manifest = Manifest(
        origin=config.origin,
        producer=config.file.name,
        stream=f"doctor-{secrets.token_hex(8)}",
        first=0,
        count=1,
        root=secrets.token_bytes(len(NO_PREVIOUS)),
        previous=NO_PREVIOUS,
    )
    signed = await asyncio.to_thread(sign_manifest, manifest, config.signer)
    try:
        await client.submit_batch(frame([b"{}", signed]), timeout=ASK_TIMEOUT)
    except Refused as error:
        if error.problem.slug != "malformed-batch":
            raise
    else:
        raise BadAnswer("the log took a batch whose records are not those of its manifest")


def _running(config: GatewayConfig) -> DoctorCheck | None:
    """What the running gateway says of the log; None when it does not run, or cannot be asked."""
    if config.file.admin is None:
        return None
    try:
        told = unixsocket.ask(config.file.admin, "GET", "/status")
    except unixsocket.NotRunningError:
        return None
    except unixsocket.NotDoneError as error:
        return DoctorCheck("gateway", f"runs, and does not say how it is: {error}")
    if told["log"]["away"]:
        return DoctorCheck("gateway", f"runs, and can log nothing: {told['log']['away']}")
    if (refused := told["configuration"]["refused"]) is not None:
        return DoctorCheck("gateway", f"runs as before its last reload: {refused['reason']}")
    # All checks above are of the files as they are now; what runs may have older ones.
    since = datetime.fromisoformat(told["configuration"]["since"]).timestamp()
    newer = [path.name for path in (config.path, config.file.policy) if _is_newer(path, since)]
    seen = f"runs, {told['mode']}"
    if newer:
        what = "a policy takes a restart, the rest a reload"
        seen = f"{seen}; it does not know yet what is new in {' and '.join(newer)}: {what}"
    return DoctorCheck("gateway", "", seen)


def _is_newer(path: Path, since: float) -> bool:
    """Whether a file was written after a time in whole seconds."""
    try:
        return path.stat().st_mtime >= since + 1
    except OSError:
        return False


def _head(cosigned: CosignedCheckpoint) -> DoctorCheck:
    now = int(time.time())
    age = now - cosigned.time(now)
    if age > OLDEST_HEAD:
        return DoctorCheck("witnesses", f"the newest cosigned head is {age} s old: no quorum since")
    return DoctorCheck("witnesses", "", f"head of {cosigned.size} leaves, cosigned {age} s ago")


def _clock(date: str | None) -> DoctorCheck:
    if date is None:
        return DoctorCheck("clock", "", "the log tells no time")
    try:
        apart = time.time() - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return DoctorCheck("clock", f"the log tells no time but {date!a}")
    # The header has whole seconds.
    if not -MOST_APART <= apart <= MOST_APART + 1:
        return DoctorCheck("clock", f"{apart:+.0f} s from the log's clock: synchronise both by NTP")
    return DoctorCheck("clock", "", "within seconds of the log's")


async def _engines(config: GatewayConfig, http: HttpSession) -> AsyncIterator[DoctorCheck]:
    panel = Panel(config.authorities, http, Counts(Metrics("muniment_gateway_doctor")))
    if not panel.seats:
        yield DoctorCheck("authority", "there is no [[authority]]: nobody can allow anything")
    request = {
        "subject": {"type": "gateway", "id": config.file.name},
        "action": {"name": "muniment.doctor"},
        "resource": {"type": "gateway", "id": "doctor"},
    }
    for answer in await panel.ask(request, PassedOn({})):
        subject = f"authority {answer.authority}"
        if answer.response is None:
            yield DoctorCheck(subject, answer.error)
            continue
        policy = answer.policy
        if policy is None:
            named = "no policy is told: permits have no artifact; add [authority.policy]"
        else:
            named = f"policy {policy.id}, revision {policy.revision}"
        word = "allows" if answer.allows else "denies"
        yield DoctorCheck(
            subject, "", f"answers ({word} a test) in {answer.took * 1000:.0f} ms; {named}"
        )


async def _people(config: GatewayConfig, people: People) -> DoctorCheck:
    """What waits for people; the file is read as a running gateway has it."""
    subject = f"authority {people.name}"
    seen = f"{people.required} of {len(set(people.approvers.values()))} people approve"
    if not config.held_database.exists():
        return DoctorCheck(subject, "", f"{seen}; nothing has waited yet")
    now = int(time.time())
    try:
        calls = await HeldCalls.open(config.held_database)
        try:
            found = (await calls.waiting(now)).get(people.name)
        finally:
            await calls.close()
    except MunimentError as error:
        return DoctorCheck(subject, f"what waits cannot be read: {error}")
    if found is None:
        return DoctorCheck(subject, "", f"{seen}; nothing waits")
    age = max(0, now - found.since)
    waits = f"{found.calls} calls wait, the oldest for {age} s of {people.request_seconds}"
    if 2 * age > people.request_seconds:
        hook = "" if people.webhook else ", and no webhook tells them"
        return DoctorCheck(subject, f"{waits}: does anybody look (muniment approve list){hook}")
    return DoctorCheck(subject, "", f"{seen}; {waits}")


def _proxy(config: GatewayConfig, proxy: Proxy) -> DoctorCheck:
    table, subject = proxy.table, f"proxy {proxy.table.name}"
    try:
        if table.kind == "envoy":
            Messages()
    except MunimentError as error:
        return DoctorCheck(subject, str(error))
    address = table.listen or config.file.listen
    certified = config.file.tls is not None and config.file.tls.client_ca is not None
    if not config.clients and not certified and address.host not in _LOOPBACK:
        return DoctorCheck(
            subject,
            f"who reaches {address} can ask in anybody's name: add a [[client]], or client_ca to "
            "[tls]",
        )
    return DoctorCheck(subject, "", f"is answered within {table.deadline_seconds:g} s")


def _place(path: Path, what: str) -> DoctorCheck:
    folder = path.parent
    if not folder.is_dir():
        return DoctorCheck(what, f"{folder}: no such folder")
    try:
        probe = folder / f".{path.name}.doctor"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return DoctorCheck(what, f"{folder}: cannot be written: {error.strerror}")
    return DoctorCheck(what, "", str(path))
