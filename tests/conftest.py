"""Fixtures that every test may ask for, and how long hypothesis may take: as long as it takes."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["engines"]

# A busy machine is no reason to fail.
settings.register_profile("muniment", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("muniment")
