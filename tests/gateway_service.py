"""A real `muniment-gateway` in front of a real log, with Cedar policies or other authorities."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import processes
from log_deployment import Answer, Deployment, ask, leaves_of, run
from muniment.records.codec import parse_record
from muniment.records.kinds import Decision
from waiting import eventually

NAME = "gw.example/service"

FIXTURE = """\
// The policy of the AuthZEN certification scenario.
permit(principal == user::"alice", action == Action::"read", resource);
permit(principal == user::"bob", action == Action::"read", resource);
permit(principal == user::"alice", action == Action::"write", resource)
  unless { resource has status && resource.status == "archived" };
permit(principal, action == Action::"write", resource)
  when { principal has role && principal.role == "admin" };
permit(principal == user::"alice", action == Action::"delete", resource == record::"record-1")
  when { context has soft && context.soft };
permit(principal, action == Action::"muniment.doctor", resource);
"""
"""Cedar has no attributes of actions: rules 7 and 8 of the scenario need the context instead."""


def evaluation(
    subject: str = "alice", action: str = "read", resource: str = "record-1", **more: Any
) -> dict[str, Any]:
    return {
        "subject": {"type": "user", "id": subject},
        "action": {"name": action},
        "resource": {"type": "record", "id": resource},
        **more,
    }


@dataclass
class Service:
    """A gateway's folder, and its process once it runs."""

    folder: Path
    deployment: Deployment
    process: processes.Process | None = None

    @property
    def config(self) -> Path:
        return self.folder / "gateway.toml"

    @property
    def url(self) -> str:
        return self.process.url

    def start(self) -> None:
        self.process = processes.start(processes.muniment_gateway("serve", "--config", self.config))

    def stop(self) -> None:
        if self.process is not None:
            assert self.process.terminate() == 0, self.process.stderr

    def post(self, path: str, value: object, headers: Mapping[str, str] | None = None) -> Answer:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return ask(self.url + path, body, {"Content-Type": "application/json", **(headers or {})})

    def evaluate(self, value: object, **headers: str) -> dict[str, Any]:
        answer = self.post("/access/v1/evaluation", value, headers)
        assert answer.status == 200, answer.body
        return answer.json

    def entry(self, index: int) -> bytes:
        """What the log has at an index, once that is published."""
        url = f"{self.deployment.url}/v1/entries/{index}"
        eventually(lambda: ask(url).status == 200)
        return ask(url).body

    def any_record(self, index: int) -> dict[str, Any]:
        """The members of a record; none of a manifest."""
        entry = self.entry(index)
        return dict(json.loads(entry)) if entry.startswith(b"{") else {}

    def record(self, index: int) -> Decision:
        """The decision at an index."""
        found = parse_record(self.entry(index))
        assert isinstance(found, Decision)
        return found

    def counted(self) -> int:
        """Decisions that were made, whatever came of them."""
        text = ask(f"{self.url}/metrics").body.decode()
        name = "muniment_gateway_decision_seconds_count"
        found = re.findall(rf"^{name} ([0-9.]+)$", text, re.MULTILINE)
        return int(float(found[0]))

    def logged(self) -> list[Decision]:
        """All decisions that the log has published."""
        size = int(ask(f"{self.deployment.url}/checkpoint").body.split(b"\n")[1])
        return [
            record
            for leaf in leaves_of(self.deployment.url, size)
            if leaf.startswith(b"{") and isinstance(record := parse_record(leaf), Decision)
        ]

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Starts it, waits until it is ready, and stops it at the end."""
        self.start()
        try:
            eventually(self.is_ready)
            yield self
        finally:
            self.stop()

    def is_ready(self) -> bool:
        return ask(f"{self.url}/readyz").status == 200


def codes(denied: dict[str, Any]) -> list[str]:
    """Why an answer denies."""
    assert denied["decision"] is False
    return denied["context"]["muniment"]["codes"]


def admit(deployment: Deployment, vkey: str) -> None:
    """Has the running log take a gateway's batches."""
    with deployment.config.open("a") as config:
        config.write(f'\n[[gateway]]\nvkey = "{vkey}"\n')
    run(processes.muniment_log("reload", "--config", deployment.config))


def made(
    deployment: Deployment, folder: Path, tables: str = "", top: str = "", name: str = NAME
) -> Service:
    """A gateway's folder, by `init`; with `tables` instead of Cedar policies that allow reading."""
    policies = folder / "authz.cedar"
    folder.mkdir(exist_ok=True)
    policies.write_text(FIXTURE)
    [vkey] = run(
        processes.muniment_gateway(
            "init", folder, "--name", name, "--listen", "127.0.0.1:0",
            "--log", deployment.url, "--cedar", policies,
            "--policy", deployment.folder / "log" / "witnesses.policy",
        )
    )  # fmt: skip
    service = Service(folder, deployment)
    text = service.config.read_text()
    if tables:
        before, _, rest = text.partition("[[authority]]")
        text = f"{before}{tables}{rest[rest.index('# Who may ask') :]}"
    if "quorum" in top:
        text = text.replace('quorum = "all"\n', "")
    service.config.write_text(f"{top}{text}")
    admit(deployment, vkey)
    return service
