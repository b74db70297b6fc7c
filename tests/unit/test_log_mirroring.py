"""A log pushes what it publishes to its mirrors, and keeps what they cosign (C2SP tlog-mirror)."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import chains
import signing
from log_tools import GatewayStream
from mirrors import FakeMirror, serving
from muniment.tlog.checkpoint import Checkpoint
from muniment.tlog.encoding import unframe
from muniment.tlog.mirrors import are_mirrored
from muniment.tlog.mirrorwire import INFO_CONTENT_TYPE, MirrorInfo
from muniment.tlog.policy import format_policy, parse_policy
from muniment.tlog.tiles import ENTRIES, Tile
from muniment_log.cli.setup import init
from muniment_log.config import load
from muniment_log.core.integrate import EMPTY_EDGE, integrate
from muniment_log.errors import NotPublishedError
from muniment_log.publish.mirroring import PUSH_SECONDS
from muniment_log.storage.cosigned import CosignedFile
from muniment_log.storage.embedded import EmbeddedTiles
from muniment_service.config import ConfigError
from publishing import ORIGIN, Log, ManualClock, log_of, lone, policy_of
from publishing import serving as witnessing
from waiting import until


def mirror(name: str) -> FakeMirror:
    return FakeMirror(
        name, [signing.witness(f"m.example/{name}"), signing.witness_mldsa44(f"m.example/{name}")]
    )


@contextlib.asynccontextmanager
async def mirrored(
    path: Path,
    *mirrors: FakeMirror,
    needed: int = 1,
    hosts: str = "127.0.0.1",
    **options: Any,
) -> AsyncIterator[Log]:
    """A log with one witness and mirrors, `needed` of which make a mirrored head."""
    witness = lone()
    async with witnessing(witness), serving(*mirrors, host=hosts):
        text = format_policy(policy_of(witness, quorum=1)).decode().removesuffix("quorum q\n")
        text += "".join(each.lines for each in mirrors)
        text += "".join(f"group {m.name} any {' '.join(m.names)}\n" for m in mirrors)
        text += f"group mirrors {needed} {' '.join(m.name for m in mirrors)}\nquorum q\n"
        async with log_of(path, parse_policy(text.encode()), **options) as log:
            yield log


async def away(_: FakeMirror, __: str) -> web.Response | None:
    return web.Response(status=503)


def signers(log: Log) -> set[str]:
    kept = log.publisher.mirrors.kept
    return set() if kept is None else {line.name for line in kept.note.signatures}


async def test_published_leaves_come_to_the_mirror_and_its_cosignature_back(tmp_path):
    m = mirror("m")
    async with mirrored(tmp_path, m) as log:
        size = await log.add(3)
        await log.wait(size)
        kept = await log.publisher.mirrors.wait(size, 30)
        assert kept.checkpoint.size == size == m.mirrored
        found = log.verify(kept)
        assert are_mirrored(found.policy, {name for name, _ in found.cosigners})
        # It joins the head that is served, too.
        await until(lambda: "m.example/m" in {x.name for x in log.shown.note.signatures})


async def test_many_leaves_go_in_requests_of_at_most_32_packages(tmp_path):
    m = mirror("m")
    async with mirrored(tmp_path, m, hosts="127.0.0.2") as log:
        size = 0
        for _ in range(9):
            size = await log.add(1000)
        await log.wait(size)
        await log.publisher.mirrors.wait(size, 60)
        assert m.mirrored == size > 32 * 256
        assert m.packages >= size // 256
        assert "gzip" in m.codings  # it is not on this machine's own address
        assert m.asked.count("/add-entries") >= 3  # what it lacks, and two with packages


@pytest.mark.parametrize("most", [1, 3])
async def test_a_mirror_that_takes_a_part_is_given_the_rest(tmp_path, most):
    m = mirror("m")
    m.most = most
    async with mirrored(tmp_path, m) as log:
        await log.add(300)
        size = await log.add(900)
        await log.wait(size)
        await log.publisher.mirrors.wait(size, 60)
        # And goes on in the middle of a bundle.
        size = await log.add(2)
        await log.publisher.mirrors.wait(size, 60)
        assert m.mirrored == size


async def test_what_a_mirror_has_is_asked_by_a_new_process(tmp_path):
    m = mirror("m")
    keeper = CosignedFile(tmp_path / "log.db", ".mirrored")
    async with mirrored(tmp_path, m, mirrored=keeper) as log:
        size = await log.add(700)
        await log.publisher.mirrors.wait(size, 60)
        await until(lambda: keeper.path.exists() and b"\n%d\n" % size in keeper.path.read_bytes())
    before = m.packages
    async with mirrored(tmp_path, m, mirrored=keeper) as log:
        assert log.publisher.mirrors.kept.checkpoint.size == size  # before anything is pushed
        await until(lambda: m.asked[-1] == "/add-entries")
        assert m.packages == before
    # By a policy that asks for more, and when somebody has changed the file, it counts for nothing.
    m.fault = away
    other = mirror("n")
    other.fault = away
    async with mirrored(tmp_path, m, other, needed=2, mirrored=keeper) as log:
        assert log.publisher.mirrors.kept is None
    text = keeper.path.read_text()
    at = text.index("m.example/m") + len("m.example/m") + 12
    keeper.path.write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :])
    async with mirrored(tmp_path, m, mirrored=keeper) as log:
        assert log.publisher.mirrors.kept is None


@pytest.mark.parametrize(
    ("window", "holds"),
    [
        (lambda first, last: (first, last + 1), True),
        (lambda first, last: (first - 9, first), False),
        (lambda first, last: (last + 1, last + 9), False),
    ],
)
async def test_what_was_kept_counts_by_the_windows_of_a_policy(tmp_path, window, holds):
    async with mirrored(tmp_path, mirror("m")) as log:
        size = await log.add(3)
        kept = await log.publisher.mirrors.wait(size, 60)
        text = format_policy(log.policy).decode()
        times = [each.timestamp for each in log.policy.recognise(kept) if each.timestamp]
        chain = chains.file(chains.version((), text, window(min(times), max(times))))
        log.publisher.mirrors.use(parse_policy(chain), ())
        assert (log.publisher.mirrors.kept is not None) is holds


async def test_no_head_waits_for_a_dead_mirror_and_it_catches_up(tmp_path):
    m, clock = mirror("m"), ManualClock()
    dead = True

    async def fault(_: FakeMirror, __: str) -> web.Response | None:
        return web.Response(status=503, headers={"Retry-After": "7"}) if dead else None

    m.fault = fault
    async with mirrored(tmp_path, m, clock=clock) as log:
        size = await log.add(400)
        await log.wait(size)
        await until(lambda: bool(m.asked))
        await until(lambda: log.publisher.witnesses[-1]["error"] is not None)
        assert log.publisher.witnesses[-1]["mirror"] is True
        assert not log.publisher.is_stalled
        with pytest.raises(NotPublishedError):
            await log.publisher.mirrors.wait(size, 0.01)
        assert log.publisher.mirrors.kept is None
        dead = False

        def is_there() -> bool:
            clock.advance(0.5)
            kept = log.publisher.mirrors.kept
            return kept is not None and kept.checkpoint.size >= size

        await until(is_there)
        assert m.mirrored >= size


async def test_one_push_a_second_unless_somebody_waits(tmp_path):
    m, clock = mirror("m"), ManualClock()
    async with mirrored(tmp_path, m, clock=clock) as log:
        size = await log.add(1)
        await log.wait(size)
        await log.publisher.mirrors.wait(size, 30)
        asked = len(m.asked)
        for _ in range(5):
            size = await log.add(1)
            await log.wait(size)
        assert len(m.asked) == asked
        clock.advance(PUSH_SECONDS)
        await until(lambda: m.mirrored == size)
        size = await log.add(1)
        await log.wait(size)
        await log.publisher.mirrors.wait(size, 30)  # with a clock that stands still
        assert m.mirrored == size


async def test_two_mirrors_that_are_both_needed_cosign_one_head(tmp_path):
    fast, slow = mirror("m"), mirror("n")
    slow.most = 1
    async with mirrored(tmp_path, fast, slow, needed=2) as log:
        size = 0
        for _ in range(6):
            size = await log.add(500)
            await log.publisher.mirrors.wait(size, 60)
            assert signers(log) >= {"m.example/m", "m.example/n"}
        assert fast.mirrored >= size
        assert slow.mirrored >= size


class TestHostile:
    """What a mirror answers does not matter to anybody but itself."""

    async def failing(self, tmp_path: Path, answer: web.Response | Sequence[int]) -> str:
        m = mirror("m")
        status, body, kind = 0, b"", ""
        if isinstance(answer, web.Response):
            status, body = answer.status, answer.body
            kind = answer.headers.get("Content-Type", "")

        async def fault(_: FakeMirror, path: str) -> web.Response | None:
            if path != "/add-entries":
                return None
            return web.Response(status=status, body=body, headers={"Content-Type": kind})

        m.fault = fault
        async with mirrored(tmp_path, m) as log:
            size = await log.add(300)
            await log.wait(size)
            await until(lambda: log.publisher.witnesses[-1]["error"] is not None)
            assert log.publisher.mirrors.kept is None
            assert "m.example/m" not in {x.name for x in log.shown.note.signatures}
            return str(log.publisher.witnesses[-1]["error"])

    async def test_it_does_not_go_on(self, tmp_path):
        told = MirrorInfo(301, 0, b"")
        answer = web.Response(
            status=202, body=told.encode(), headers={"Content-Type": INFO_CONTENT_TYPE}
        )
        assert "does not go on" in await self.failing(tmp_path, answer)

    async def test_it_forgets_the_checkpoint(self, tmp_path):
        told = MirrorInfo(7, 0, b"")
        answer = web.Response(
            status=409, body=told.encode(), headers={"Content-Type": INFO_CONTENT_TYPE}
        )
        assert "does not" in await self.failing(tmp_path, answer)

    async def test_its_answer_is_none(self, tmp_path):
        answer = web.Response(status=409, body=b"17\n", headers={"Content-Type": INFO_CONTENT_TYPE})
        assert "1 lines instead of 3" in await self.failing(tmp_path, answer)

    async def test_its_signature_does_not_hold(self, tmp_path):
        line = signing.witness("m.example/m").sign(
            Checkpoint(ORIGIN, 7, bytes(32)).text, 1_790_000_000
        )
        answer = web.Response(status=200, body=line.line.encode())
        assert "its answer" in await self.failing(tmp_path, answer)

    async def test_it_refuses(self, tmp_path):
        assert "status 422" in await self.failing(tmp_path, web.Response(status=422))


def test_a_quorum_that_takes_mirrors_is_refused(tmp_path):
    def load_with(quorum: str) -> object:
        folder = tmp_path / quorum.replace(" ", "-")
        init(
            folder,
            origin="log.example/one",
            listen="127.0.0.1:0",
            passphrase_file=None,
            passphrase=None,
        )
        config = folder / "log.toml"
        lines = "".join(
            f"witness {name} {signing.witness(name).vkey} https://{name}.example\n" for name in "wm"
        )
        (folder / "trust.policy").write_text(
            f"log {signing.log_signer().vkey}\n{lines}group mirrors any m\n{quorum}\n"
        )
        config.write_text(f'policy = "trust.policy"\n{config.read_text()}')
        return load(config)

    with pytest.raises(ConfigError, match="the quorum takes mirrors"):
        load_with("group q all w mirrors\nquorum q")
    load_with("quorum w")


async def test_what_was_just_committed_is_sent_on_without_being_read_again(tmp_path):
    class Nothing:
        async def tiles(self, wanted: object) -> list[bytes]:
            raise AssertionError(f"{wanted} was read")

        async def put_published(self, note: bytes) -> None:
            raise AssertionError(f"{note!r} was stored")

    batch = GatewayStream().take(700)
    change = integrate(EMPTY_EDGE, [batch])
    tiles = EmbeddedTiles(Nothing(), EMPTY_EDGE, None, recent=len(change.bundles[-1][1]))
    tiles.advance(change)
    whole, part = Tile(ENTRIES, 1, 256), Tile(ENTRIES, 1, 3)
    found = await tiles.read([whole, part])
    assert unframe(found[whole]) == list(batch.records[256:512])
    assert unframe(found[part]) == list(batch.records[256:259])
    with pytest.raises(AssertionError, match="was read"):  # there is no room for more
        await tiles.read([Tile(ENTRIES, 0, 256)])
