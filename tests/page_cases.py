"""What the page verify.html says of files, and what the commands say of the same files."""

import base64
import contextlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner

import browser
from muniment.cli import cli

PAGE: Final = Path(__file__).parent.parent / "client" / "muniment" / "page" / "verify.html"

# By kind: the command, and the option for each further file.
COMMANDS: Final = {
    "proof": ("verify",),
    "evidence": ("evidence", "verify"),
    "lineage": ("lineage", "verify"),
    "permit": ("permit", "verify", "--without-facts"),
}
OPTIONS: Final = {
    "policy": "--policy",
    "entry": "--entry",
    "context": "--context",
    "authorities": "--authority",
    "approvers": "--approver",
    "gateways": "--gateway",
}

# One round trip for many cases. Sizes and times are BigInt, which JSON has not.
_ASK: Final = """
async (kinds, cases, addenda, approvals) => {
  const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const plain = (_, value) => (typeof value === 'bigint' ? Number(value) : value);
  const said = [];
  for (const [at, files] of cases.entries()) {
    const input = { kind: kinds[at], addenda: addenda[at].map(bytes), approvals: approvals[at] };
    for (const [role, data] of Object.entries(files)) input[role] = bytes(data);
    said.push(JSON.parse(JSON.stringify((await muniment.verify(input)).members, plain)));
  }
  return said;
}
"""


@dataclass(frozen=True)
class Case:
    """Files by the name of their role: `file`, `policy`, and those of `OPTIONS`; and addenda."""

    kind: str
    files: Mapping[str, bytes] = field(repr=False)
    addenda: tuple[bytes, ...] = field(default=(), repr=False)
    approvals: int = 1

    def with_file(self, role: str, data: bytes) -> "Case":
        return replace(self, files={**self.files, role: data})


def say(case: Case, folder: Path) -> dict[str, Any]:
    """What the command says, as its --json has it; of bad input the reason alone."""
    words = [*COMMANDS[case.kind], str(folder / "file"), "--json"]
    if case.approvals != 1:
        words += ["--approvals", str(case.approvals)]
    for number, data in enumerate(case.addenda):
        (folder / f"addendum{number}").write_bytes(data)
        words += ["--addendum", str(folder / f"addendum{number}")]
    for role, data in case.files.items():
        (folder / role).write_bytes(data)
        if role in OPTIONS:
            words += [OPTIONS[role], str(folder / role)]
    result = CliRunner().invoke(cli, words)
    if result.stdout:
        return json.loads(result.stdout)
    assert isinstance(result.exception, SystemExit), result.exception
    reason = result.stderr.removeprefix("muniment: ").removeprefix("not verified: ").rstrip("\n")
    for role in ("file", "policy", "context"):
        reason = reason.removeprefix(f"{folder / role}: ")
    return {"verified": False, "reason": reason.replace(f"{folder}/", "")}


def same(page: browser.Page, folder: Path, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """What both say of the cases, which has to be the same; AssertionError if it is not."""
    said = [say(case, folder) for case in cases]
    for case, told, shown in zip(cases, said, ask(page, cases), strict=True):
        # Of each alone: pytest would take minutes to compare files of kilobytes.
        for name in sorted({*shown, *told}):
            one, other = shown.get(name), told.get(name)
            assert one == other, f"{case.kind} {name}: {one!a:.2000} is not {other!a:.2000}"
    return said


@contextlib.contextmanager
def opened() -> Iterator[browser.Page]:
    """The page in a browser of its own; AssertionError for anything on its console."""
    with browser.page() as page:
        page.open(PAGE.as_uri())
        yield page
        assert page.problems == []


def ask(page: browser.Page, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """What the page says."""
    encoded = [{role: _base64(data) for role, data in case.files.items()} for case in cases]
    addenda = [[_base64(data) for data in case.addenda] for case in cases]
    kinds, approvals = [case.kind for case in cases], [case.approvals for case in cases]
    return page.call(_ASK, kinds, encoded, addenda, approvals)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def mutate(chance: random.Random, data: bytes) -> bytes:
    """A file after one to three small edits."""
    scraps = [
        b"\n",
        b"\n\n",
        b" ",
        b"+",
        b"=",
        b"0",
        b"-",
        b"\r",
        b"\x00",
        b"\xff",
        b"\xc2\x85",
        b"",
    ]
    for _ in range(chance.randint(1, 3)):
        at = chance.randint(0, len(data))
        end = min(len(data), at + chance.choice([0, 1, 1, 1, 2, 12]))
        patch = chance.choice([*scraps, chance.randbytes(1), data[at:end] * 2, data[:at][-3:]])
        data = data[:at] + patch + data[end:]
    return data
