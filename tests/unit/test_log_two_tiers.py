"""A log with witnesses near it, which make the quorum, and others that it asks within a rate."""

import asyncio
from pathlib import Path

import pytest

import signing
from log_tools import by_hand
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment_log.cli.setup import init
from muniment_log.config import load
from muniment_log.storage.cosigned import CosignedFile
from muniment_service.config import ConfigError
from publishing import FakeWitness, Log, ManualClock, log_of, policy_of, serving
from waiting import until

OFTEN = 86_400 * 1_000  # for tests that look at nothing but what becomes of the answers


def witnesses() -> tuple[FakeWitness, FakeWitness, FakeWitness]:
    near, far, other = (FakeWitness(n, [signing.witness(f"w.example/{n}")]) for n in "abc")
    return near, far, other


def names(log: Log) -> set[str]:
    return {line.name for line in log.shown.note.signatures} - {signing.log_signer().vkey.name}


async def test_nobody_waits_for_them_and_they_join_the_served_head(tmp_path: Path) -> None:
    near, far, other = witnesses()
    async with serving(near, far, other):
        policy = policy_of(near, far, other, quorum=1)
        per_day = {far.url: OFTEN, other.url: OFTEN}
        keeper = CosignedFile(tmp_path / "log.db")
        held = asyncio.Event()

        async def late(witness: FakeWitness, body: bytes) -> object:
            await held.wait()
            return await honest(witness, body)

        honest, far.answer = far.answer, late  # type: ignore[assignment]
        async with log_of(tmp_path, policy, per_day=per_day, keeper=keeper) as log:
            published = await log.wait(await log.add())
            assert {line.name for line in published.note.signatures} >= {"w.example/a"}
            held.set()
            await until(lambda: names(log) >= {"w.example/a", "w.example/b", "w.example/c"})
            assert log.verify(log.shown).size == 2
            # Stored: with the head, and as the newest that they have cosigned.
            await until(lambda: log.publisher.rated.kept == log.shown and keeper.path.exists())
            await until(lambda: keeper.path.read_bytes() == log.shown.encode())

            def stored() -> bytes:
                [(note,)] = by_hand(
                    tmp_path / "log.db", "SELECT note FROM head WHERE kind = 'published'"
                )
                return bytes(note)

            await until(lambda: stored() == log.shown.encode())
        async with log_of(tmp_path, policy, per_day=per_day, keeper=keeper) as log:
            # After a restart they are there before anybody was asked again.
            assert log.publisher.rated.kept is not None
            assert names(log) >= {"w.example/b", "w.example/c"}


async def test_a_head_that_is_served_no_more_is_kept(tmp_path: Path) -> None:
    near, far, _ = witnesses()
    async with serving(near, far):
        policy = policy_of(near, far, quorum=1)
        held = asyncio.Event()
        honest = far.answer

        async def late(witness: FakeWitness, body: bytes) -> object:
            await held.wait()
            return await honest(witness, body)

        far.answer = late  # type: ignore[assignment]
        async with log_of(tmp_path, policy, per_day={far.url: OFTEN}) as log:
            first = await log.wait(await log.add())
            await until(lambda: far.requests == 1)
            second = await log.wait(await log.add(5))
            held.set()
            await until(lambda: log.publisher.rated.kept is not None)
            kept = log.publisher.rated.kept
            assert kept.checkpoint in {first.checkpoint, second.checkpoint}
            assert "w.example/b" in {line.name for line in kept.note.signatures}
            await until(lambda: log.publisher.rated.kept.checkpoint == second.checkpoint)


async def test_one_request_a_turn_whatever_it_is_answered(tmp_path: Path) -> None:
    """A conflict costs a request; the next one begins where it told."""
    clock = ManualClock()
    near, far, _ = witnesses()
    async with serving(near, far):
        policy = policy_of(near, far, quorum=1)
        async with log_of(tmp_path, policy, per_day={far.url: 86_400}, clock=clock) as log:
            await log.wait(await log.add(3))
            far.head = log.shown.checkpoint.head  # somebody else has fed it
            clock.advance(2)
            await until(lambda: far.requests == 1)
            assert log.publisher.rated.kept is None
            clock.advance(2)
            await until(lambda: far.requests == 2)
            await until(lambda: log.publisher.rated.kept is not None)


async def test_kept_notes_of_another_tree_are_not_used(tmp_path: Path) -> None:
    near, far, _ = witnesses()
    keeper = CosignedFile(tmp_path / "log.db")
    async with serving(near, far):
        policy = policy_of(near, far, quorum=1)
        async with log_of(tmp_path, policy) as log:
            await log.wait(await log.add(3))
        for data in (b"", b"x\n", signing.signed(origin=log.shown.checkpoint.origin).encode()):
            keeper.path.write_bytes(data)
            async with log_of(tmp_path, policy, keeper=keeper) as log:
                assert log.publisher.rated.kept is None


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('url = "https://c/"\nper_day = 5\n', "no witness line of the policy has it"),
        ('url = "https://a"\nper_day = 5\n', "the quorum takes witnesses that are asked within"),
        ('url = "https://b"\nper_day = 0\n', "per_day"),
        ('url = "https://b/"\nper_day = 5\n[[witness]]\nurl = "https://b"\nper_day = 6\n', "twice"),
    ],
)
def test_what_the_configuration_may_not_say(tmp_path: Path, text: str, match: str) -> None:
    path = write_config(tmp_path, text)
    with pytest.raises(ConfigError, match=match):
        load(path)


def test_the_configuration(tmp_path: Path) -> None:
    path = write_config(tmp_path, 'url = "https://b/"\nper_day = 8640\n')
    assert load(path).file.witness[0].per_day == 8640
    path.write_text(path.read_text().replace('policy = "trust.policy"\n', ""))
    with pytest.raises(ConfigError, match="needs a policy"):
        load(path)


def write_config(folder: Path, text: str) -> Path:
    init(
        folder / "log",
        origin="log.example/one",
        listen="127.0.0.1:0",
        passphrase_file=None,
        passphrase=None,
    )
    near, far, _ = witnesses()
    near.url, far.url = "https://a", "https://b"
    policy = f"log {signing.log_signer().vkey}\n{near.lines}{far.lines}quorum a0\n"
    (folder / "log" / "trust.policy").write_text(policy)
    path = folder / "log" / "log.toml"
    path.write_text(f'policy = "trust.policy"\n{path.read_text()}\n[[witness]]\n{text}')
    return path


def test_notes_are_notes(tmp_path: Path) -> None:
    """What is kept is a signed note that any tool reads."""
    made = signing.signed(signing.log_signer(), signing.witness("w.example/a"))
    keeper = CosignedFile(tmp_path / "log.db")

    async def work() -> bytes | None:
        assert await keeper.load() is None
        await keeper.keep(made.encode())
        return await keeper.load()

    data = asyncio.run(work())
    assert data is not None
    assert parse_signed_checkpoint(data) == made
    assert keeper.path.name == "log.cosigned"
