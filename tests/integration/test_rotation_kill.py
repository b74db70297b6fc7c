"""A change of a service's own keys that is killed is completed by the same command once more."""

import asyncio
import re
from itertools import count
from pathlib import Path

import pytest

import processes
from killing import rotate_and_kill
from log_deployment import run
from muniment.local.sqlitefile import DatabaseError
from muniment.tlog.note import VKey
from muniment_log.cli import rotate
from muniment_log.config import load as load_log
from muniment_log.errors import WrongIdentityError
from muniment_log.storage.sqlite import SQLiteStore
from muniment_service.config import ConfigError
from muniment_service.rotation import Own
from muniment_witness.cli import admin
from muniment_witness.config import load as load_witness
from muniment_witness.store.heads import HeadStore

NAMES = {"log": ("--origin", "log.example/a"), "witness": ("--name", "w.example/w")}


class Service:
    """A service that has never run: its configuration, with two keys, and its database."""

    def __init__(self, folder: Path, program: str) -> None:
        self.program = program
        self.config = folder / program / f"{program}.toml"
        run(getattr(processes, f"muniment_{program}")("init", folder / program, *NAMES[program]))
        assert len(self.own().vkeys) == 2

    def own(self) -> Own:
        return (rotate if self.program == "log" else admin).own_keys(self.config)

    def killed(self, at: int, *words: str) -> bool:
        """See `rotate_and_kill`."""
        return rotate_and_kill(at, self.program, self.config, *words)

    def list_files(self, names: list[str]) -> None:
        """Has the configuration list other files, as a crash leaves it."""
        text = ", ".join(f'"{name}"' for name in names)
        before = self.config.read_text()
        self.config.write_text(
            re.sub(r"^keys = .*$", f"keys = [{text}]", before, flags=re.MULTILINE)
        )

    @property
    def listed(self) -> list[str]:
        found = re.search(r"^keys = (.*)$", self.config.read_text(), re.MULTILINE)
        assert found is not None
        return re.findall(r'"(.*?)"', found[1])

    def check(self) -> None:
        """Checks that it would start: its database knows the keys that are listed."""
        asyncio.run(self._check())

    async def _check(self) -> None:
        if self.program == "witness":
            witness = load_witness(self.config)
            keys = [signer.vkey for signer in witness.signers]
            await (await HeadStore.open(witness.file.database, keys)).close()
            return
        log = load_log(self.config)
        store = await SQLiteStore.open(log.database)
        try:
            await store.claim(log.file.origin, log.vkeys)
        finally:
            await store.close()


@pytest.fixture(params=["log", "witness"])
def service(tmp_path: Path, request: pytest.FixtureRequest) -> Service:
    return Service(tmp_path, request.param)


def key_id(vkey: VKey) -> str:
    return f"{vkey.key_id:08x}"


def test_what_was_killed_anywhere_is_completed_by_the_same_once_more(service: Service) -> None:
    """K1, and the moments before it."""
    adds = "--add" if service.program == "log" else "--own"
    for at in count(1):
        was_killed = service.killed(at, adds, "ed25519")
        new = service.own().add("ed25519") if was_killed else service.own().vkeys[2]
        assert service.own().vkeys[2:] == [new]
        service.check()
        retiring = service.killed(at, "--retire", key_id(new))
        # A witness's database keeps what was retired: there, the configuration is all.
        if retiring and (service.program == "log" or len(service.own().vkeys) == 3):
            assert service.own().retire(key_id(new)) == new
        assert len(service.own().vkeys) == 2
        service.check()
        if not (was_killed or retiring):
            break
    assert at >= 6


def another(service: Service) -> tuple[Path, VKey]:
    """A file beside the configuration with a key of the service's name, which nobody knows."""
    other = Service(service.config.parent, service.program)
    new = other.own().add("ed25519")
    made = other.config.with_name(f"{service.program}-ed25519-{key_id(new)}.pem")
    return made.rename(service.config.with_name("another.pem")), new


def test_a_file_that_is_listed_and_not_recorded_is_recorded_by_its_name(service: Service) -> None:
    file, new = another(service)
    service.list_files([*service.listed, file.name])
    with pytest.raises((WrongIdentityError, DatabaseError), match="was cut off, repeat it"):
        service.check()
    assert service.own().take_up(file) == new
    service.check()
    with pytest.raises(ConfigError, match="its key is listed already"):
        service.own().take_up(file)


def test_what_was_cut_off_is_taken_back_by_the_opposite(service: Service) -> None:
    before = service.listed
    new = service.own().add("mldsa44")
    service.own().retire(key_id(new))
    after_adding = [*before, f"{service.program}-mldsa44-{key_id(new)}.pem"]
    service.list_files(after_adding)  # an addition that was cut off
    service.own().retire(key_id(new))
    assert service.listed == before
    service.check()
    service.own().take_up(service.config.with_name(after_adding[2]))
    service.list_files(before)  # a removal that was cut off
    service.own().take_up(service.config.with_name(after_adding[2]))
    assert service.listed == after_adding
    service.check()


def test_no_key_is_recorded_beside_the_one_that_a_command_is_about(service: Service) -> None:
    file, new = another(service)
    before = service.listed
    service.list_files([*before, file.name])
    text = service.config.read_text()
    for change in (
        lambda own: own.add("ed25519"),
        lambda own: own.retire(key_id(own.vkeys[0])),
    ):
        with pytest.raises(ConfigError, match=f"the key {key_id(new)} is listed and not recorded"):
            change(service.own())
    assert service.config.read_text() == text
    assert not list(service.config.parent.glob("*-ed25519-*.pem"))
    service.own().retire(key_id(new))
    assert service.listed == before
    service.check()
