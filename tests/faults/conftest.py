"""One process that starts services quickly, for each module of tests."""

from collections.abc import Iterator

import pytest

from faults.services import Forks, forks


@pytest.fixture(scope="module")
def fork_server() -> Iterator[Forks]:
    with forks() as made:
        yield made


@pytest.fixture
def quick(fork_server: Forks) -> Iterator[Forks]:
    """Starts services; those that still run end with the test."""
    yield fork_server
    fork_server.kill_all()
