"""What the modules of one folder start alike: a log with its witnesses, a gateway, the page."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import approving
import browser
import gateway_service
import mcp_tools
import page_cases
from approving import Person
from gateway_service import Service
from log_deployment import Deployment, deployed


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("log")) as made:
        yield made


@pytest.fixture(scope="module")
def service(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = gateway_service.made(deployment, tmp_path_factory.mktemp("gateway"))
    with made.running():
        yield made


@pytest.fixture(scope="session")
def mcp_sdk() -> None:
    """Skips what needs the MCP SDK where it is not installed, before anything else is started."""
    mcp_tools.python()


@pytest.fixture(scope="module")
def carol(tmp_path_factory: pytest.TempPathFactory) -> Person:
    """Somebody who approves."""
    return approving.person(tmp_path_factory.mktemp("people"), "carol")


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Person:
    """Somebody who approves, and whom calls are made for."""
    return approving.person(tmp_path_factory.mktemp("people"), "alice")


@pytest.fixture
def asking(
    deployment: Deployment, tmp_path: Path, carol: Person, alice: Person
) -> Iterator[Service]:
    """A gateway of its own that asks both about writes."""
    made = gateway_service.made(
        deployment, tmp_path / "gateway", name=f"gw.example/{tmp_path.name}"
    )
    approving.ask_people(made, [carol, alice], *approving.WRITES)
    with made.running():
        yield made


@pytest.fixture(scope="module")
def page() -> Iterator[browser.Page]:
    """verify.html in a browser."""
    with page_cases.opened() as opened:
        yield opened
