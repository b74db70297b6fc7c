"""Puts a witness together: the only place that builds its objects. One task group is the service.

When a background task fails, the process ends: a witness that cannot commit must not answer.
"""

import logging
from collections.abc import Callable

from msgspec import Struct, field

from muniment.local.taskgroup import TaskGroup
from muniment.tlog.cosignature import verifier_for
from muniment_service.metrics import Metrics
from muniment_service.process import allow_connections, unix_seconds
from muniment_service.serving import serve_until_signal
from muniment_service.tls import server_context
from muniment_witness.bastion.links import Bastions
from muniment_witness.config import WitnessConfig
from muniment_witness.cosign.cosigner import Cosigner
from muniment_witness.cosign.suspension import Informant, Suspensions, UnknownRecord
from muniment_witness.gossip.advance import HeadAdvancer
from muniment_witness.gossip.alarmboard import AlarmBoard
from muniment_witness.gossip.announcer import HeadAnnouncer
from muniment_witness.gossip.antientropy import PeerReader
from muniment_witness.gossip.comparer import Comparer
from muniment_witness.gossip.evidence import EvidenceArchive
from muniment_witness.gossip.gauges import WatchGauges
from muniment_witness.gossip.lists import LogListPuller
from muniment_witness.gossip.net import Transport, transport
from muniment_witness.gossip.outbox import Outbox
from muniment_witness.gossip.pull import Puller
from muniment_witness.gossip.push import Pusher
from muniment_witness.gossip.quotas import Quotas
from muniment_witness.gossip.receive import PushReceiver
from muniment_witness.gossip.recompute import IndexJudge, Maps
from muniment_witness.gossip.requests import RequestObserver
from muniment_witness.gossip.shared import Shared
from muniment_witness.gossip.tiles import TileCache, TileReader
from muniment_witness.gossip.watch import Watch
from muniment_witness.http.api import WitnessHttp
from muniment_witness.http.mirror import MirrorHttp
from muniment_witness.mirror.mirror import Mirror
from muniment_witness.running import Parts, RunningWitness
from muniment_witness.store.heads import HeadStore
from muniment_witness.store.mirrordb import MirrorStore

_LOGGER = logging.getLogger(__name__)


async def serve(config: WitnessConfig) -> None:
    """Serves until SIGTERM or SIGINT; requests in flight finish first.

    Raises:
        DatabaseError: If the database cannot be used.
        OSError: If the address cannot be bound.
        ExceptionGroup: If a background task failed.
    """
    file = config.file
    tls = server_context(file.tls)
    allow_connections(file.limits.connections)
    store = await HeadStore.open(
        file.database, config.owner, file.gossip.history, cosigns=bool(config.signers)
    )
    mirror = None
    try:
        await store.make_ready()
        mirror = await _open_mirror(config, store, unix_seconds)
        async with (
            Maps(file.database) as maps,
            transport(file.gossip.request_seconds, file.outgoing.access, config.tokens) as network,
            TaskGroup() as tasks,
        ):
            lists = LogListPuller(
                network,
                lambda: running.config,
                lambda logs: running.add_listed(logs),  # noqa: PLW0108 - made below
                unix_seconds,
            )
            bastions = Bastions(lambda: running.config, file.limits, unix_seconds)
            lasting = Lasting(
                store=store,
                transport=network,
                clock=unix_seconds,
                maps=maps,
                lists=lists,
                mirror=mirror,
                bastions=bastions,
            )

            def make(changed: WitnessConfig, cosigner: Cosigner | None = None) -> Parts:
                return build(changed, lasting, Metrics("muniment_witness"), cosigner)

            parts = make(config)
            running = RunningWitness(
                parts, lambda changed: make(changed, parts.watch.cosigner), network, tasks
            )
            await running.start()
            unasked = [
                tasks.create_task(lists.run(), name="lists"),
                tasks.create_task(bastions.run(running), name="bastions"),
            ]
            if mirror is not None:
                unasked.append(tasks.create_task(mirror.run(), name="mirror"))
            await serve_until_signal(
                running,
                running.admin(),
                file,
                tls=tls,
                logger=_LOGGER,
                line="witness is ready",
                name=config.name,
                logs=len(config.logs),
                keys=len(config.signers),
                peers=len(config.peers),
            )
            await bastions.finish()
            for task in unasked:
                task.cancel()
            running.stop()
    finally:
        if mirror is not None:
            await mirror.close()
        await store.close()


async def _open_mirror(
    config: WitnessConfig, heads: HeadStore, clock: Callable[[], int]
) -> Mirror | None:
    if config.mirror is None:
        return None
    signers = config.mirror.signers
    keys = [signer.vkey for signer in signers]
    store = await MirrorStore.open(config.mirror.table.database, keys)
    mirror = Mirror(store, heads, signers, clock)
    try:
        await mirror.follow(config.mirrored)
    except BaseException:
        await mirror.close()
        raise
    return mirror


class Lasting(Struct, frozen=True, kw_only=True):
    """What goes on when a reload replaces the parts.

    Attributes:
        clock: Gives Unix seconds.
    """

    store: HeadStore
    transport: Transport
    clock: Callable[[], int]
    maps: Maps
    quotas: Quotas = field(default_factory=Quotas)
    lists: LogListPuller | None = None
    mirror: Mirror | None = None
    bastions: Bastions | None = None


def build(
    config: WitnessConfig, lasting: Lasting, metrics: Metrics, cosigner: Cosigner | None = None
) -> Parts:
    """Builds the parts of a witness, each after those that it uses; nothing runs yet.

    A cosigner that moves heads already, when these parts replace others, goes on by the suspensions
    that it had until `obey` gives it those of the new parts.
    """
    store = lasting.store
    shared = Shared(
        config=config,
        own=tuple(verifier_for(signer.vkey) for signer in config.signers),
        store=store,
        suspensions=_suspensions(config, store),
        transport=lasting.transport,
        clock=lasting.clock,
    )
    if cosigner is None:
        cosigner = Cosigner(store, config.signers, lasting.clock, shared.suspensions)
    outbox = Outbox(has_peers=bool(config.peers))
    board = AlarmBoard(metrics)
    announcer = HeadAnnouncer(store.latest, outbox, metrics)
    reader = TileReader(lasting.transport, TileCache(config.file.gossip.tile_cache_bytes))
    archive = EvidenceArchive(shared=shared, outbox=outbox, board=board, metrics=metrics)
    comparer = Comparer(shared=shared, archive=archive, reader=reader)
    advancer = HeadAdvancer(
        shared=shared,
        cosigner=cosigner,
        comparer=comparer,
        reader=reader,
        indices=IndexJudge(shared=shared, archive=archive, reader=reader, maps=lasting.maps),
    )
    peer_reader = PeerReader(shared=shared, comparer=comparer, advancer=advancer)
    receiver = PushReceiver(shared=shared, comparer=comparer)
    lasting.quotas.use(config.options)
    watch = Watch(
        shared=shared,
        started=lasting.clock(),
        cosigner=cosigner,
        cache=reader.cache,
        comparer=comparer,
        advancer=advancer,
        announcer=announcer,
        puller=Puller(
            shared=shared,
            comparer=comparer,
            advancer=advancer,
            peer_reader=peer_reader,
            announcer=announcer,
        ),
        peer_reader=peer_reader,
        pusher=Pusher(shared=shared, states=peer_reader.state, outbox=outbox),
        receiver=receiver,
        requests=RequestObserver(
            shared=shared,
            comparer=comparer,
            advancer=advancer,
            receiver=receiver,
            announcer=announcer,
        ),
        board=board,
        gauges=WatchGauges(metrics),
        quotas=lasting.quotas,
        lists=lasting.lists,
        bastions=lasting.bastions,
    )
    mirrored = None
    if lasting.mirror is not None and config.mirror is not None:
        mirrored = MirrorHttp(lasting.mirror, config.mirror.table, config.file.about, metrics)
    return Parts(watch, WitnessHttp(watch, metrics, mirrored).app(), lasting.mirror)


def _suspensions(config: WitnessConfig, store: HeadStore) -> Suspensions:
    """Finds the origins that are suspended from the start: what the database may lack."""
    past = store.past
    unknown: dict[str, UnknownRecord] = {}
    peer: frozenset[Informant] = frozenset({"peer"} if config.peers else ())
    for origin, each in config.options.items():
        if past.loss is not None and past.lacks(origin):
            log: frozenset[Informant] = frozenset({"log"} if each.url is not None else ())
            unknown[origin] = UnknownRecord(past.loss, peer | log)
    acknowledged = {origin: each.acknowledged for origin, each in config.options.items()}
    return Suspensions(store.observations, acknowledged, unknown)
