"""Every implementation of the storage ports."""

import pytest

from storages import Opener, cluster, sqlite


@pytest.fixture(params=["sqlite", "cluster", "bucket"])
def opener(request: pytest.FixtureRequest) -> Opener:
    if request.param == "sqlite":
        return sqlite
    database, bucket = (request.getfixturevalue(name) for name in ("database", "bucket"))
    return cluster(database, bucket, reads_bucket=request.param == "bucket")
