"""What goes by a policy over time: permits, gateways, monitors, the log, as time passes."""

from types import SimpleNamespace
from typing import Any

import pytest

import governed
import logsim
from bench import gateway_of
from chains import START, YEAR, body, file, two_years, version
from muniment.monitor.heads import EARLIER, LOG, HeadReader
from muniment.permit.context import Context, Trust
from muniment.permit.verify import verify_permit
from muniment.records.kinds import Entity
from muniment.tlog.encoding import VerificationError
from muniment.tlog.policy import Policy, PolicyChain, format_policy, parse_policy
from muniment.tlog.policyversion import KeyRevocation
from muniment_log.app.policyturn import LOOK_SECONDS, turn_with_time
from muniment_log.cli import setup
from muniment_log.config import load
from muniment_log.inforce import PolicyInForce, reread
from muniment_service.config import ConfigError
from muniment_service.http import Problem
from signing import NOW, log_signer, signed, witness

ORIGIN = log_signer().vkey.name


def head(*cosigners: tuple[str, int]) -> bytes:
    made = signed(log_signer(), origin=ORIGIN)
    lines = [witness(name).sign(made.checkpoint.text, time) for name, time in cosigners]
    return made.with_signatures(lines).encode()


def within(policy: Policy, *windows: tuple[int, int]) -> PolicyChain:
    """The policy in versions, one for each window."""
    chain: tuple[Any, ...] = ()
    for window in windows:
        chain = version(chain, format_policy(policy).decode(), window)
    made = parse_policy(file(chain))
    assert isinstance(made, PolicyChain)
    return made


class TestPermit:
    """A runtime acts: it counts the versions in force at its time."""

    @pytest.mark.parametrize(
        ("windows", "reason"),
        [
            ([(NOW - 100, NOW + 100)], None),
            ([(NOW - 100, NOW + 1), (NOW - 50, NOW + 100)], None),
            # The permit's checkpoint was there, and its witnesses count no more.
            ([(NOW - 100, NOW + 5), (NOW + 5, NOW + 100)], "before the version"),
            ([(NOW - 100, NOW + 5)], "the trust policy has expired: its newest version, 1"),
            ([(NOW + 50, NOW + 100)], "no version of the trust policy is in force"),
        ],
    )
    def test_what_is_in_force(self, windows, reason):
        world, index = governed.story()
        context = Context(
            now=NOW + 5, action="read", resource=Entity("document", "7"), facts=world.facts()
        )
        trust = Trust(
            policy=within(governed.policy(), *windows),
            require_policy=False,
            require_binding=False,
        )
        verdict = verify_permit(world.permit(index), context, trust)
        found = [finding.found for finding in verdict.findings if finding.check == "proof"]
        if reason is None:
            assert not found
        else:
            assert not verdict.permitted
            assert "invalid_signature" in verdict.codes
            assert reason in found[0]


class TestGateway:
    """A gateway gives out a proof only under what is in force."""

    @pytest.mark.parametrize(
        ("window", "reason"),
        [
            ((NOW - 100, NOW + 100), None),
            ((NOW - 100, NOW + 50), "has expired"),
            ((NOW + 50, NOW + 100), "before the version"),
        ],
    )
    async def test_what_is_in_force(self, window, reason, monkeypatch):
        clock = SimpleNamespace(time=lambda: NOW + 50.5)
        monkeypatch.setattr("muniment.gateway.delivery.time", clock)
        policy = within(logsim.POLICY, window)
        async with gateway_of(logsim.LogSim(), policy=policy) as gateway:
            if reason is None:
                (receipt,) = await gateway.submit([logsim.decision(1)], published=True)
                published = receipt.batch.published
                assert published.cosigned.time() == NOW
            else:
                with pytest.raises(VerificationError, match=reason):
                    await gateway.submit([logsim.decision(1)], published=True)


class TestMonitor:
    """A monitor judges each head by the version of its time."""

    def test_each_head_by_its_version(self):
        reader = HeadReader(parse_policy(file(two_years())), ORIGIN)
        for names, time in ((("w1", "w2"), START), (("w3", "w4"), START + YEAR)):
            shown = reader.read(LOG, head(*((name, time) for name in names)))
            assert shown.has_quorum
            assert dict(shown.cosigners) == dict.fromkeys(names, time)
        mixed = reader.read(LOG, head(("w1", START), ("w4", START + YEAR)))
        assert not mixed.has_quorum

    def test_a_revoked_key_of_the_log_counts_for_the_memory_alone(self):
        window = (START + YEAR, START + 2 * YEAR)
        gone = KeyRevocation("compromised", log_signer().vkey, START + YEAR)
        text = body("w3", "w4").replace(str(log_signer().vkey), str(log_signer("next").vkey))
        text = text.replace("\nwitness", f"\norigin {ORIGIN}\nwitness", 1)
        policy = parse_policy(file(version(two_years(), text, window, revoked=[gone])))
        reader = HeadReader(policy, ORIGIN)
        old = head(("w1", START), ("w2", START))
        assert reader.read(EARLIER, old).has_quorum
        with pytest.raises(VerificationError, match="only by keys of the log that others may have"):
            reader.read(LOG, old)

    def test_stolen_keys_and_other_times_make_no_quorum(self):
        listed = [KeyRevocation("compromised", witness("w3").vkey, START + YEAR)]
        window = (START + YEAR, START + 2 * YEAR)
        stolen = parse_policy(file(version(two_years(), body("w3", "w4"), window, revoked=listed)))
        time = START + YEAR
        shown = HeadReader(stolen, ORIGIN).read(LOG, head(("w3", time), ("w4", time)))
        assert not shown.has_quorum
        assert shown.stated == (("w4", time),)
        reader = HeadReader(parse_policy(file(two_years())), ORIGIN)
        for names, time in ((("w1", "w2"), START - 1), (("w3", "w4"), START)):
            assert not reader.read(LOG, head(*((name, time) for name in names))).has_quorum


class TestConfiguration:
    """What the services make of a policy over time in their files."""

    @pytest.fixture
    def config(self, tmp_path):
        """A log's configuration whose policy, of two versions, ends at START + 2 * YEAR."""
        folder = tmp_path / "log"
        setup.init(
            folder, origin=ORIGIN, listen="127.0.0.1:0", passphrase_file=None, passphrase=None
        )
        texts = [
            body(name).replace(f"{key}", f"{key} http://127.0.0.1:9")
            for name, key in (("w1", witness("w1").vkey), ("w3", witness("w3").vkey))
        ]
        chain = version((), texts[0], (START, START + YEAR))
        chain = version(chain, texts[1], (START + YEAR, START + 2 * YEAR))
        (folder / "p").write_bytes(file(chain))
        path = folder / "log.toml"
        path.write_text('policy = "p"\n' + path.read_text())
        return path

    def test_a_log_takes_what_is_in_force(self, config):
        for now, name in ((START, "w1"), (START + YEAR, "w3")):
            loaded = load(config, now=now)
            loaded.check_in_force()
            assert [one.name for one in loaded.policy.witnesses] == [name]
            told = PolicyInForce(loaded).describe()["policy"]
            assert [one["from"] for one in told["versions"]] == [now]
            assert told["witnesses"] == [name]

    def test_an_expired_one_loads_for_commands_and_not_to_serve(self, config):
        """Keys are listed and a status is asked for with it; no log starts or goes on by it."""
        loaded = load(config, now=START + 2 * YEAR)
        assert loaded.vkeys
        with pytest.raises(ConfigError, match="policy: the trust policy has expired"):
            loaded.check_in_force()
        with pytest.raises(ConfigError, match="policy: the trust policy has expired"):
            reread(load(config, now=START), START + 2 * YEAR)


class Stopped(Exception):  # noqa: N818 - ends the task, which never ends by itself
    pass


class Log:
    """A log's configuration in force, as a reload makes it, at a time that a test sets."""

    def __init__(self, data: bytes, now: int) -> None:
        self.data, self.now = data, now
        self.reloads: list[tuple[int, ...]] = []
        self.pauses: list[float] = []
        self.policy: Any = parse_policy(data).at(now)

    async def reload(self) -> None:
        try:
            self.policy = parse_policy(self.data).at(self.now)
        except VerificationError as error:
            self.reloads.append(())
            raise Problem(409, "not-reloaded", str(error)) from error
        counted = self.policy.counted if isinstance(self.policy, PolicyChain) else ()
        self.reloads.append(tuple(one.number for one in counted))

    async def run(self, times: list[int]) -> None:
        """Runs until the clock has shown each time once, in the pauses between looks."""
        left = iter(times)

        async def sleep(seconds: float) -> None:
            self.pauses.append(seconds)
            now = next(left, None)
            if now is None:
                raise Stopped
            self.now = now

        with pytest.raises(Stopped):
            await turn_with_time(lambda: self, self.reload, lambda: self.now, sleep)  # type: ignore[arg-type, return-value]


class TestLog:
    """A log asks the witnesses of the version in force, without anybody's doing."""

    async def test_it_turns_when_the_window_does(self):
        log = Log(file(two_years()), START + YEAR - 3)
        assert {one.name for one in log.policy.witnesses} == {"w1", "w2"}
        await log.run([START + YEAR - 1, START + YEAR, START + YEAR + 5])
        assert log.reloads == [(2,)]
        assert log.pauses == [3, 1, LOOK_SECONDS, LOOK_SECONDS]
        assert {one.name for one in log.policy.witnesses} == {"w3", "w4"}

    async def test_an_expired_policy_is_refused_once_and_stays(self):
        log = Log(file(two_years()), START + 2 * YEAR - 1)
        await log.run([START + 2 * YEAR, START + 2 * YEAR + 20, START + 2 * YEAR + 40])
        assert log.reloads == [()]
        assert {one.name for one in log.policy.witnesses} == {"w3", "w4"}
        # With a newer file, a reload by hand goes on.
        window = (START + 2 * YEAR, START + 3 * YEAR)
        log.data = file(version(two_years(), body("w5"), window))
        await log.reload()
        assert {one.name for one in log.policy.witnesses} == {"w5"}

    async def test_a_policy_without_versions_is_left_alone(self):
        log = Log(body("w1").encode(), START)
        await log.run([START + YEAR, START + 2 * YEAR])
        assert log.reloads == []
