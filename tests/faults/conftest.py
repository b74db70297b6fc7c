"""What the tests of faults share."""

from collections.abc import Iterator

import pytest

from faults.services import Services, services


@pytest.fixture
def quick() -> Iterator[Services]:
    """Starts services; those that still run end with the test."""
    with services() as made:
        yield made
