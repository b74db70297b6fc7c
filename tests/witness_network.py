"""Witnesses and logs in one process, joined by a network that can be cut, slowed and watched.

    async with Network(tmp_path) as net:
        net.add("w1", view); net.add("w2", other_view)
        await net.rounds(3)

Each witness is the real thing (store, cosigner, gossip, HTTP routes) but for sockets: requests go
straight to the other's `App`. Which view of the log a witness reads is per witness.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from byzantine import View
from muniment.tlog.evidence import parse_evidence
from muniment.tlog.proven import verify_evidence
from muniment_service.config import Address
from muniment_service.http import Request, Response
from muniment_service.metrics import Metrics
from muniment_witness.app import Lasting, build
from muniment_witness.config import LogOptions, Peer, WitnessConfig
from muniment_witness.gossip.net import TransportAnswer, UnreachableError
from muniment_witness.gossip.recompute import Maps
from muniment_witness.judge.decide import Authentic, KnownLog, authenticate
from muniment_witness.witnessfile import Gossip, WitnessFile
from rawhttp import Body
from witness_tools import opened_store, witness_signer

if TYPE_CHECKING:
    from stand import Answer

START = 1_700_000_000
PERIOD = 30


class Node:
    """One witness. Restart it with `stop` and `start`; the database stays."""

    def __init__(self, network: "Network", name: str, view: View | None, **options: Any) -> None:
        self.network = network
        self.name = name
        self.view = view
        self.options = options
        self.signer = witness_signer(name=f"{name}.example")
        self.database = network.folder / f"{name}.db"
        self.running = False
        self.requests = 0
        self.more: list[tuple[KnownLog, LogOptions]] = []
        """Other logs that it knows, besides the network's."""

    @property
    def url(self) -> str:
        return f"http://{self.name}"

    @property
    def peer(self) -> Peer:
        from muniment.tlog.cosignature import verifier_for

        return Peer(f"{self.name}.example", (verifier_for(self.signer.vkey),), self.url)

    async def start(self) -> Self:
        network = self.network
        limits = self.options.get("limits", network.limits)
        file = WitnessFile(
            name=f"{self.name}.example",
            listen=Address("127.0.0.1:0"),
            database=self.database,
            keys=(self.database,),
            gossip=limits,
        )
        log = KnownLog(network.origin, network.verifiers)
        options = LogOptions(
            url=self.options.get("url", "http://log"),
            period=limits.period_seconds,
            cosign=self.options.get("cosign", True),
            acknowledged=frozenset(self.options.get("acknowledged", ())),
        )
        others = [node.peer for node in network.nodes.values() if node is not self]
        known = [(log, options), *self.more]
        config = WitnessConfig(
            Path("witness.toml"),
            file,
            (self.signer,),
            {log.origin: log for log, _ in known},
            {log.origin: options for log, options in known},
            tuple(others),
        )
        self.store = await opened_store(self.database, [self.signer.vkey])
        self.lasting = Lasting(
            store=self.store,
            transport=Wire(network, self),
            clock=self.now,
            maps=Maps(self.database),
        )
        parts = build(config, self.lasting, Metrics("w"))
        self.watch, self.app = parts.watch, parts.routes
        for peer in others:
            self.watch.receiver.senders.learn(peer.name, [urlsplit(peer.url).netloc])
        self.running = True
        await self.watch.start()
        self._task = asyncio.create_task(self.watch.cosigner.run())
        return self

    def now(self) -> int:
        return self.network.now + int(self.options.get("skew", 0))

    async def stop(self) -> None:
        if self.running:
            self.running = False
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            await self.store.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def round(self) -> None:
        """What a period brings: everything that the tasks would do once."""
        for origin in self.watch.puller.state:
            await self.watch.puller.round(origin)
        for peer in self.watch.shared.peers:
            await self.watch.peer_reader.round(peer)
        await self.compare_pushed()
        await self.watch.peer_reader.retry()
        await self.watch.pusher.push()
        await self.watch.resume()
        self.network.alarms += [(self.name, *alarm) for alarm in self.watch.refresh_alarms()]

    async def compare_pushed(self) -> None:
        """Compares all that was pushed, as the tasks would."""
        receiver = self.watch.receiver
        for queue in receiver._queues.values():  # noqa: SLF001
            while (candidate := queue.pop()) is not None:
                await receiver.compare(candidate)

    async def call(
        self, method: str, path: str, body: bytes = b"", client: str = "", **headers: str
    ) -> Response:
        """Asks this witness; `client` is the address to come from: a node's name, or any other."""
        return await self.app.respond(Request(method, path, headers, Body(body), client))

    async def add(self, old: int, view: View, new: int | None = None) -> Response:
        return await self.call("POST", "/add-checkpoint", view.add_checkpoint(old, new).encode())

    def authentic(self, old: int, view: View, new: int) -> Authentic:
        """A request that this witness takes for the log's."""
        log = KnownLog(self.network.origin, self.network.verifiers)
        request = authenticate(log, view.add_checkpoint(old, new))
        assert isinstance(request, Authentic)
        return request

    @property
    def evidence(self) -> list[str]:
        """The kinds of evidence held, each verified from its file."""
        files = self.store.observations.evidence.get(self.network.origin, {}).values()
        return [verify_evidence(parse_evidence(f.file), self.network.verifiers).kind for f in files]

    @property
    def size(self) -> int:
        return self.store.head(self.network.origin).size


class Wire:
    """The transport of one witness."""

    def __init__(self, network: "Network", reader: Node) -> None:
        self.network = network
        self.reader = reader

    async def get(self, url: str, *, most: int = 1 << 20, etag: str = "") -> TransportAnswer:
        return await self._send("GET", url, b"", etag)

    async def post(self, url: str, body: bytes) -> TransportAnswer:
        return await self._send("POST", url, body, "")

    async def _send(self, method: str, url: str, body: bytes, etag: str) -> TransportAnswer:
        parts = urlsplit(url)
        host = parts.netloc
        self.reader.requests += 1
        await asyncio.sleep(0)
        if self.network.lost(self.reader.name, host):
            raise UnreachableError("cut")
        if host == "log":
            if self.reader.view is None:
                raise UnreachableError("no log")
            answer = self.reader.view.answer(parts.path)
            return TransportAnswer(answer.status, answer.body)
        if host in self.network.impostors:
            answer = self.network.impostors[host](parts.path)
            return TransportAnswer(answer.status, answer.body)
        node = self.network.nodes[host]
        if not node.running:
            raise UnreachableError("down")
        headers = {"If-None-Match": etag} if etag else {}
        request = Request(method, parts.path, headers, Body(body), self.reader.name)
        response = await node.app.respond(request)
        return TransportAnswer(
            response.status, response.body, response.headers.get("ETag", ""), response.content_type
        )


class Network:
    """The witnesses, the time, and what is cut."""

    def __init__(self, folder: Path, view: View, limits: Gossip | None = None) -> None:
        self.folder = folder
        self.origin = view.origin
        self.verifiers = view.verifiers
        self.limits = limits or Gossip()
        self.now = START
        self.nodes: dict[str, Node] = {}
        self.alarms: list[tuple[str, str, str, str]] = []
        self.cut: set[frozenset[str]] = set()
        self.lose: Callable[[], bool] = lambda: False
        self.impostors: dict[str, Callable[[str], Answer]] = {}
        """What answers in the place of a node, by its name."""

    def lost(self, one: str, other: str) -> bool:
        return frozenset((one, other)) in self.cut or self.lose()

    def add(self, name: str, view: View | None, **options: Any) -> Node:
        self.nodes[name] = Node(self, name, view, **options)
        return self.nodes[name]

    async def started(self, name: str, view: View | None, **options: Any) -> Node:
        """A node that is added and started by itself."""
        return await self.add(name, view, **options).start()

    async def __aenter__(self) -> Self:
        return self

    async def start(self) -> list[Node]:
        return [await node.start() for node in self.nodes.values()]

    async def rounds(self, count: int, only: Sequence[str] | None = None) -> None:
        for _ in range(count):
            self.now += PERIOD
            for name, node in self.nodes.items():
                if node.running and (only is None or name in only):
                    await node.round()

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes.values():
            await node.stop()
