"""Module names of 0.1.0 go on working: one module under both names, and a warning."""

import importlib
import subprocess
import sys

import pytest

from muniment._moved import MOVED


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
