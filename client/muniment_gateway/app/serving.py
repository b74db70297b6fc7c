"""Builds the gateway and serves it; one task group is the service."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from muniment.http.client import HttpSession
from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.local.taskgroup import TaskGroup
from muniment.records.preparation import RecordInput
from muniment_gateway.app.envoy import Envoys, listeners
from muniment_gateway.app.metadata import EngineMetadata
from muniment_gateway.config import GatewayConfig, GatewayFile, checked
from muniment_gateway.core.approvals import People
from muniment_gateway.core.authzen import REQUESTS_PATH
from muniment_gateway.core.quorum import Quorum
from muniment_gateway.deciding.approvals import Approvals
from muniment_gateway.deciding.callbacks import CallbackSender
from muniment_gateway.deciding.changes import ChangeReporter, tell_in_force
from muniment_gateway.deciding.counts import Counts
from muniment_gateway.deciding.decider import Decider
from muniment_gateway.deciding.loglink import LogLink
from muniment_gateway.deciding.notices import Notices
from muniment_gateway.deciding.opasink import OpaSink
from muniment_gateway.deciding.panel import Panel
from muniment_gateway.deciding.proxied import ProxyDecider
from muniment_gateway.deciding.searches import Searches
from muniment_gateway.http.access import Clients
from muniment_gateway.http.accessrequests import AccessRequestsHttp
from muniment_gateway.http.api import Facade, GatewayHttp
from muniment_gateway.http.approvers import ApproversHttp
from muniment_gateway.http.authzen import AuthzenFacade
from muniment_gateway.http.forward import ForwardHttp
from muniment_gateway.http.opadata import OpaDataFacade
from muniment_gateway.http.opasink import OpaSinkHttp
from muniment_gateway.http.search import SearchFacade
from muniment_gateway.store.database import open_database
from muniment_gateway.store.held import HeldCalls
from muniment_gateway.store.inforce import InForceStore
from muniment_gateway.store.originals import Originals
from muniment_service.config import config_error
from muniment_service.http import Problem, Request, Response, json_response
from muniment_service.inforce import InForce
from muniment_service.metrics import Metrics
from muniment_service.process import allow_connections
from muniment_service.routing import App
from muniment_service.servicefile import reread_file
from muniment_service.serving import serve_until_signal
from muniment_service.tls import server_context

PREFIX: Final = "muniment_gateway"

POLICIES_SECONDS: Final = 10.0
"""Time between two looks at the policies in force."""

CHANGE_TIMEOUT: Final = 10.0
"""How long a change may take to be logged."""

RELOADED: Final = frozenset(
    {
        *("mode", "quorum", "authority", "opa", "client", "permit", "proxy", "deadline_seconds"),
        *("grace_seconds", "most_waiting", "url", "key_passphrase_file"),
    }
)
"""The tables and keys of the file that a reload applies; all else takes a restart."""

_LOGGER: Final = logging.getLogger(__name__)


async def serve(config: GatewayConfig) -> None:
    """Serves until SIGTERM or SIGINT; requests in flight finish first.

    It is ready whether the log answers or not: until it does, everything is denied, and `/readyz`
    says so.

    Raises:
        DatabaseError: If the database or the spool cannot be used.
        OSError: If the address cannot be bound.
        ExceptionGroup: If a background task failed.
    """
    file = config.file
    tls = server_context(file.tls)
    allow_connections(file.limits.connections)
    access = file.outgoing.access
    database = await open_database(file.database)
    try:
        store = await InForceStore.read(database)
        originals = await Originals.read(database)
        async with (
            HttpSession(headers={"User-Agent": access.agent()}, tls=access.ssl()) as http,
            TaskGroup() as tasks,
        ):
            link = LogLink(config, http)
            running = RunningGateway(config, link, store, originals, http)
            try:
                await running.start()
                await link.start()
                await running.tell()
                work = [tasks.create_task(one.run()) for one in (link, running)]

                def told(url: str) -> None:
                    running.url = url

                async with running.envoys.serving(file):
                    await serve_until_signal(
                        running,
                        running.admin(),
                        file,
                        tls=tls,
                        told=told,
                        logger=_LOGGER,
                        line="gateway is ready",
                        name=file.name,
                        mode=file.mode,
                        authorities=len(config.authorities),
                    )
                for task in work:
                    task.cancel()
            finally:
                await running.close()
                await link.close()
    finally:
        await database.close()


class RunningGateway:
    """A gateway that serves, and applies a changed configuration without a restart.

    Attributes:
        url: Where it listens; empty before it does.
        envoys: What answers proxies that ask over gRPC.
    """

    def __init__(
        self,
        config: GatewayConfig,
        link: LogLink,
        store: InForceStore,
        originals: Originals,
        http: HttpSession,
    ) -> None:
        """Builds what the configuration decides."""
        self.url = ""
        self._link = link
        self._originals = originals
        self._http = http
        self._changes = ChangeReporter(config.file.name, store, self._submit)
        self._in_force = InForce(config.path)
        self._reloading = asyncio.Lock()
        self._calls: HeldCalls | None = None
        self._callbacks: CallbackSender | None = None
        self._calling_back: asyncio.Task[None] | None = None
        self._notices = Notices()
        self._config = config
        self._approvals: Approvals | None = None
        self.envoys = Envoys()

    async def start(self) -> None:
        """Opens what the configuration needs; DatabaseError if it cannot be used."""
        await self._take_up(self._config)

    async def close(self) -> None:
        """Closes what it has opened."""
        await self._notices.close()
        if self._calling_back is not None:
            self._calling_back.cancel()
            await asyncio.gather(self._calling_back, return_exceptions=True)
        if self._calls is not None:
            await self._calls.close()

    async def _take_up(self, config: GatewayConfig) -> None:
        if config.people and self._calls is None:
            calls = self._calls = await HeldCalls.open(config.held_database)
            self._callbacks = CallbackSender(calls.callbacks, calls.get, self._http)
            self._calling_back = asyncio.create_task(self._callbacks.run())
        await self._notices.take_up(config.people)
        self._build(config)

    async def _submit(self, records: Sequence[RecordInput]) -> int:
        return await self._link.submit(records, CHANGE_TIMEOUT)

    def _build(self, config: GatewayConfig) -> None:
        metrics = Metrics(PREFIX)
        counts = Counts(metrics)
        clients = Clients(config.clients)
        grace = config.file.grace_seconds
        panel = Panel(config.authorities, self._http, counts, config.quorum, grace)
        self._config = config
        self._panel = panel
        self._counts = counts
        self._link.lost = counts.unrecorded.inc
        approvals = self._approvals = self._held(config, counts)
        of_engine = EngineMetadata(config.authorities, self._http)
        authzen = AuthzenFacade(
            Decider(config, panel, self._link, self._changes, counts, approvals),
            clients,
            self._public_url,
            of_engine,
            takes_requests=approvals is not None,
        )
        alone = replace(config, quorum=Quorum(1, 1))
        deciders = {
            rule.path: Decider(
                alone,
                Panel((authority,), self._http, counts),
                self._link,
                self._changes,
                counts,
            )
            for rule, authority in zip(config.file.opa.rule, config.opa, strict=False)
        }
        pointers = {rule.path: rule.decision for rule in config.file.opa.rule}
        sink = OpaSink(pointers, self._link, self._originals, metrics)
        desks = self._desks(config, counts, approvals)
        facades: list[Facade] = [
            authzen,
            SearchFacade(Searches(config.authorities, self._http, of_engine, metrics), clients),
            OpaDataFacade(deciders, pointers, clients),
            OpaSinkHttp(sink, config.file.opa.sink_paths, clients),
            ForwardHttp(desks, clients),
        ]
        if self._callbacks is not None:
            self._callbacks.take_up(config.callbacks, self._task_url, metrics)
        if approvals is not None and self._callbacks is not None:
            facades += [
                AccessRequestsHttp(approvals, clients, self._public_url, self._callbacks),
                ApproversHttp(approvals, self._public_url),
            ]
        self.envoys.take(desks, clients)
        self._routes = GatewayHttp(
            facades,
            self._ready,
            metrics,
            config.file.name,
            asks_people=approvals is not None,
        )
        metrics.gauge("log_away", "Whether nothing can be logged at present.").set_function(
            lambda: float(bool(self._link.away))
        )
        metrics.gauge("spool_records", "Records that wait for the log.").set_function(
            lambda: float(self._link.pending)
        )
        metrics.gauge("enforcing", "1 in the mode enforce, 0 in observe.").set(
            config.file.mode == "enforce"
        )
        silent = metrics.gauge("engine_silent", "Whether the last answer was none.", ("authority",))
        for seat in panel.seats:
            silent.labels(seat.name).set_function(partial(_is_silent, panel, seat.name))

    def _desks(
        self, config: GatewayConfig, counts: Counts, approvals: Approvals | None
    ) -> list[ProxyDecider]:
        """One for each proxy; its engines and the log share its deadline."""
        signed = any(one.vkey is not None for one in config.authorities)
        desks = []
        for proxy in config.proxies:
            within = proxy.table.deadline_seconds
            panel = self._panel.within(within)
            decider = Decider(config, panel, self._link, self._changes, counts, approvals, within)
            desks.append(ProxyDecider(proxy, decider, counts, signed=signed))
        return desks

    def _held(self, config: GatewayConfig, counts: Counts) -> Approvals | None:
        """What people decide on; None when they decide on nothing."""
        if self._calls is None or not config.people:
            return None
        name = config.file.name

        def tell(people: People, message: Mapping[str, Any]) -> None:
            counts.approvals.labels(people.name, message["status"]).inc()
            self._notices.tell(people, message)
            if self._callbacks is not None:
                self._callbacks.changed(message["request"])

        return Approvals(name, config.people, self._calls, self._submit, tell)

    async def _waiting(self) -> dict[str, dict[str, int]]:
        """What waits for people and for how long, by authority; the metrics have it then."""
        told = {}
        found = {} if self._approvals is None else await self._approvals.waiting()
        for name, (calls, since) in found.items():
            oldest = max(0, int(time.time()) - since) if calls else 0
            self._counts.approvals_waiting.labels(name).set(calls)
            self._counts.approvals_oldest.labels(name).set(oldest)
            told[name] = {"waiting": calls, "oldest_seconds": oldest}
        return told

    def _public_url(self, request: Request) -> str:
        del request  # what a client says of itself is no base for URLs
        return (self._config.file.url or self.url).rstrip("/")

    def _task_url(self, task: str) -> str:
        return f"{(self._config.file.url or self.url).rstrip('/')}{REQUESTS_PATH}/{task}"

    async def respond(self, request: Request) -> Response:
        """Answers a public request by the configuration in force."""
        return await self._routes.respond(request)

    def _ready(self) -> Mapping[str, Any]:
        mode = self._config.file.mode
        if self._link.away and mode == "enforce":
            raise Problem(503, "log-away", f"everything is denied: {self._link.away}")
        if not self._changes.is_told("mode", mode):
            raise Problem(503, "mode-untold", "the log was not told the mode yet")
        unusable = self._panel.unusable
        answering = len(self._panel.seats) - len(unusable)
        opa = self._config.file.opa
        alone = not self._panel.seats and (opa.url is not None or opa.sink_paths)
        if answering < self._config.quorum.needed and not alone:
            what = "; ".join(f"{name}: {why}" for name, why in unusable.items())
            raise Problem(
                503, "no-quorum", f"too few authorities answer: {what or 'there are none'}"
            )
        silent = sorted(self._panel.troubles)
        return {"mode": mode, "authorities": len(self._panel.seats), "silent": silent}

    async def run(self) -> None:
        """Looks for what the log was not told, or what has changed, until it is cancelled."""
        while True:
            await asyncio.sleep(self._pause())
            await self.tell()

    async def tell(self) -> None:
        """Tells the log what is in force, as far as it can be told now; counts what waits."""
        with Contained("what waits for people"):
            await self._waiting()
        await tell_in_force(self._config, self._changes, self._panel, self._link)

    def _pause(self) -> float:
        told = self._changes.is_told("mode", self._config.file.mode)
        return POLICIES_SECONDS if told else 0.2

    async def reload(self) -> None:
        """Applies the configuration as its file is now.

        Raises:
            ConfigError: If it cannot be used, or something else in it has changed.
            MunimentError: If the log could not be told another mode; nothing has changed then.
        """
        async with self._reloading:
            config = await asyncio.to_thread(_reread, self._config)
            await self._changes.tell_mode(config.file.mode)
            await self._take_up(config)
            self._in_force.accepted()
        event(_LOGGER, logging.INFO, "reloaded", mode=config.file.mode)

    def admin(self) -> App:
        """Makes the routes of the administrative socket."""
        app = App(Metrics(f"{PREFIX}_admin"))

        async def status(_: Request) -> Response:
            waiting = await self._waiting()
            approvals = {"approvals": waiting} if waiting else {}
            described = self._in_force.describe()
            return json_response({"configuration": described, **self._told(), **approvals})

        async def reload(_: Request) -> Response:
            with self._in_force.refusing():
                await self.reload()
            return json_response(self._told())

        app.route("GET", "/status", status)
        app.route("POST", "/reload", reload)
        return app

    def _told(self) -> dict[str, Any]:
        troubles = self._panel.troubles
        return {
            "name": self._config.file.name,
            "mode": self._config.file.mode,
            "quorum": str(self._config.quorum),
            "log": {"url": self._config.file.log, "away": self._link.away or None},
            "spool": self._link.pending,
            "authorities": {one.name: troubles.get(one.name) for one in self._panel.seats},
        }


def _is_silent(panel: Panel, name: str) -> float:
    return float(name in panel.troubles)


def _reread(now: GatewayConfig) -> GatewayConfig:
    file: GatewayFile = reread_file(now.path, now.file, now.signers, use="gateway", taken=RELOADED)
    config = checked(now.path, file, now.signers)
    if config.policy != now.policy:
        config_error(now.path, "policy", "has changed; that takes a restart")
    if listeners(file) != listeners(now.file):
        config_error(now.path, "proxy", "a `listen` has changed; that takes a restart")
    return config
