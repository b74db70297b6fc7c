"""Fixtures that every test may ask for, and how long hypothesis may take: as long as it takes."""

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["engines"]

# A busy machine is no reason to fail.
settings.register_profile("muniment", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("muniment")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers in this process wait for a copy of a log that is behind, but not for seconds."""
    monkeypatch.setattr("muniment.http.logclient.CATCH_UP_PAUSES", (0.01, 0.01, 0.01))
