"""Which configuration a service works by, and what its status says of a reload."""

import logging
from pathlib import Path

import pytest

from muniment_service.config import ConfigError
from muniment_service.http import Problem
from muniment_service.inforce import InForce


def test_a_reload_that_is_refused_is_answered_logged_and_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    in_force = InForce(Path("log.toml"))
    with caplog.at_level(logging.ERROR), pytest.raises(Problem) as refused, in_force.refusing():
        raise ConfigError("log.toml: policy: line 2: bad")
    assert (refused.value.status, refused.value.detail) == (409, "log.toml: policy: line 2: bad")
    described = in_force.describe()
    assert (described["file"], described["since"]) == ("log.toml", in_force.since)
    assert described["refused"]["reason"] == "log.toml: policy: line 2: bad"
    assert [record.message for record in caplog.records] == [
        "reload refused; what was in force stays in force"
    ]
    with in_force.refusing():
        in_force.accepted()
    assert in_force.describe()["refused"] is None


def test_a_fault_of_the_service_is_no_refusal() -> None:
    in_force = InForce(Path("log.toml"))
    with pytest.raises(ZeroDivisionError), in_force.refusing():
        raise ZeroDivisionError
    assert in_force.describe()["refused"] is None
