"""What the page verify.html says of files, and what the commands say of the same files."""

import base64
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner

import browser
from muniment.cli import cli

PAGE: Final = Path(__file__).parent.parent / "client" / "muniment" / "page" / "verify.html"

COMMANDS: Final = {
    "proof": ("verify", "--entry", "entry"),
    "evidence": ("evidence", "verify"),
}

# One round trip for many cases. Sizes and times are BigInt, which JSON has not.
_ASK: Final = """
async (kinds, cases) => {
  const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const plain = (_, value) => (typeof value === 'bigint' ? Number(value) : value);
  const said = [];
  for (const [at, files] of cases.entries()) {
    const input = { kind: kinds[at] };
    for (const [role, data] of Object.entries(files)) input[role] = bytes(data);
    said.push(JSON.parse(JSON.stringify((await muniment.verify(input)).members, plain)));
  }
  return said;
}
"""


@dataclass(frozen=True)
class Case:
    """Files by the name of their role: `file`, `policy`, `entry`."""

    kind: str
    files: Mapping[str, bytes] = field(repr=False)

    def with_file(self, role: str, data: bytes) -> "Case":
        return Case(self.kind, {**self.files, role: data})


def say(case: Case, folder: Path) -> dict[str, Any]:
    """What the command says, as its --json has it; of bad input the reason alone."""
    for role, data in case.files.items():
        (folder / role).write_bytes(data)
    name, *rest = COMMANDS[case.kind]
    words = [word if word not in case.files else str(folder / word) for word in rest]
    words += [str(folder / "file"), "--policy", str(folder / "policy"), "--json"]
    result = CliRunner().invoke(cli, [name, *words])
    if result.stdout:
        told: dict[str, Any] = json.loads(result.stdout)
        return told
    assert isinstance(result.exception, SystemExit), result.exception
    reason = result.stderr.removeprefix("muniment: ").rstrip("\n")
    for role in case.files:
        reason = reason.removeprefix(f"{folder / role}: ")
    return {"verified": False, "reason": reason}


def ask(page: browser.Page, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """What the page says."""
    encoded = [
        {role: base64.b64encode(data).decode() for role, data in case.files.items()}
        for case in cases
    ]
    told: list[dict[str, Any]] = page.call(_ASK, [case.kind for case in cases], encoded)
    return told


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
