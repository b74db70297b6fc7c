"""People who approve: their keys, the table of a gateway that asks them, and their command."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import processes
from gateway_service import Service, evaluation
from log_deployment import run


@dataclass(frozen=True)
class Person:
    """One approver: a key file, its vkey, and what subjects call this person."""

    key: Path
    vkey: str
    subject: str

    def table(self) -> str:
        return f'[[authority.approver]]\nvkey = "{self.vkey}"\nsubject = "{self.subject}"\n'

    def command(self, url: str, *words: str, code: int | None = None) -> processes.Done:
        """Runs `muniment approve` at a gateway."""
        what, *rest = words
        argv = processes.muniment(
            "approve", what, *rest, "--gateway", url, "--key", self.key, "--json"
        )
        return processes.run(argv, code=code)

    def approve(self, service: Service, *words: str) -> dict[str, Any]:
        """The same at a service, and what it prints."""
        return json.loads(self.command(service.url, *words, code=0).stdout)

    def only(self, service: Service) -> str:
        """The one request that waits for this person."""
        [one] = self.approve(service, "list")["approvals"]
        return str(one["request"])


def person(folder: Path, name: str) -> Person:
    """Makes a person's key with `muniment keygen`."""
    key = folder / f"{name}.key"
    [vkey] = run(
        processes.muniment(
            "keygen", "--name", f"people.example/{name}", "--use", "approver", "--out", key
        )
    )
    return Person(key, vkey, name)


def denial_of(denied: dict[str, Any]) -> dict[str, Any]:
    """What a submission says of the denial that it answers."""
    context = denied["context"]
    return {
        "evaluation_id": context["evaluation_id"],
        "expires_at": context["access_request"]["expires_at"],
        "reason": context["reason"],
    }


def table(people: Sequence[Person], *lines: str) -> str:
    """An authority of kind `approval`: who may approve, and other lines of its table."""
    more = "\n".join(lines)
    head = f'[[authority]]\nname = "people"\nkind = "approval"\n{more}\n'
    return head + "".join(one.table() for one in people)


def ask_people(service: Service, people: Sequence[Person], *lines: str) -> None:
    """Has a gateway ask people beside the engines that it has."""
    text = service.config.read_text()
    before, mark, rest = text.partition("# Who may ask")
    service.config.write_text(f"{before}{table(people, *lines)}\n{mark}{rest}")


WRITES: Final = ('actions = ["write"]',)
"""Lines that have people asked about writes alone."""


def write(resource: str = "record-1", **context: Any) -> dict[str, Any]:
    """A call that people are asked about."""
    return evaluation("alice", "write", resource, context={"arguments": {"text": "new"}, **context})


def submit(service: Service, denied: dict[str, Any], asked: dict[str, Any], **more: Any) -> Any:
    """Submits the access request of a denial; the answer."""
    denial = denial_of(denied)
    return service.post("/access/v1/requests", {**asked, "denial": denial, **more})


def requested(service: Service, asked: dict[str, Any]) -> str:
    """Has a call denied, and people asked about it; the id of its task."""
    answer = submit(service, service.evaluate(asked), asked)
    assert answer.status == 202, answer.body
    return str(answer.json["task"]["id"])
