"""Fixtures that every test may ask for, and how long hypothesis may take: as long as it takes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["bench", "engines"]

# A busy machine is no reason to fail, nor is what chance finds in a change that has not caused it:
# the same values each time. `--hypothesis-profile hunt` looks for others.
for name, is_same in ("muniment", True), ("hunt", False):
    settings.register_profile(
        name,
        deadline=None,
        derandomize=is_same,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile("muniment")


_PLACE = Path.cwd()
_MASK = os.umask(0o022)
os.umask(_MASK)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fails a test whose list of parameters is empty: pytest would skip it, unseen."""
    for mark in item.iter_markers("skip"):
        if str(mark.kwargs.get("reason", "")).startswith("got empty parameter set"):
            pytest.fail("the list of its parameters is empty", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Fails a test that leaves the process other than it was: tests after it would feel that."""
    yield
    mask = os.umask(_MASK)
    assert mask == _MASK, f"the umask is {mask:#o} after this test, and was {_MASK:#o}"
    place = Path.cwd()
    os.chdir(_PLACE)
    assert place == _PLACE, f"the working directory is {place} after this test"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers in this process wait for a copy of a log that is behind, but not for seconds."""
    monkeypatch.setattr("muniment.http.logclient.CATCH_UP_PAUSES", (0.01, 0.01, 0.01))


@pytest.fixture
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways in this process try again at once."""
    for module in ("muniment.gateway.delivery", "muniment.gateway.spool"):
        monkeypatch.setattr(f"{module}.FIRST_PAUSE", 0.005)
        monkeypatch.setattr(f"{module}.LONGEST_PAUSE", 0.02)


@pytest.fixture
def fast_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads from a log in this process tries again at once."""
    monkeypatch.setattr("muniment.http.logclient._FIRST_PAUSE", 0.001)
