"""Module names of 0.1.0 go on working: one module under both names, and a warning."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from muniment._moved import MOVED

BEFORE = (Path(__file__).parents[1] / "data" / "names-0.1.0.txt").read_text().splitlines()
"""A module of 0.1.0 and the names that it defined; all but those whose meaning is gone."""


@pytest.mark.parametrize("line", BEFORE, ids=[line.partition(" ")[0] for line in BEFORE])
@pytest.mark.filterwarnings("ignore:muniment")
def test_a_module_of_before_has_the_names_that_it_had(line: str) -> None:
    old, *names = line.split()
    module = importlib.import_module(old)
    assert [name for name in names if not hasattr(module, name)] == []


@pytest.mark.parametrize("old", sorted(name for name, now in MOVED.items() if now))
def test_a_name_of_before_is_the_module_of_today(old: str) -> None:
    today = importlib.import_module(MOVED[old])
    spec = today.__spec__
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{MOVED[old]} now"):
        assert importlib.import_module(old) is today
    assert today.__spec__ is spec
    assert today.__name__ == MOVED[old]


def test_programs_of_before_run() -> None:
    program = """
from muniment import Gateway, blocking, governed
from muniment.formats.canonical import encode_canonical
from muniment.formats.cosignature import Ed25519Cosigner
from muniment.formats.records import RecordError
from muniment.formats.witnesswire import parse_add_checkpoint
import muniment.guard, muniment.index.replicafacts, muniment.lineage.trace
from muniment.gateway import Gateway as Same
from muniment.records.canonical import encode_canonical as today
assert Same is Gateway and today is encode_canonical
assert muniment.guard.Guard is muniment.Guard
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)


def test_what_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("muniment.formats.nothing")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("muniment.nothing")
