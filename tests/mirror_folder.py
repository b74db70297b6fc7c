"""A mirror of ours as a real process, with a folder of its own."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import processes
from muniment.tlog.note import VKey, parse_vkey
from muniment.tlog.witnesswire import origin_hash
from muniment_witness.store.database import create
from muniment_witness.store.mirrordb import create_mirror
from ports import free_port


@dataclass(eq=False)
class MirrorFolder:
    """A mirror alone, without a witness. Its port stays the same over restarts."""

    folder: Path
    process: processes.Process | None = None
    port: int = 0
    vkey: VKey | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def key_name(self) -> str:
        return f"mirror.example/{self.name}"

    @property
    def url(self) -> str:
        """The submission prefix."""
        return self.process.url

    def copy_of(self, origin: str) -> str:
        """Where its copy of a log is served."""
        return f"{self.url}/mirror/{origin_hash(origin)}"

    def make(self, log_keys: Sequence[str]) -> None:
        """Makes its key, its configuration and its databases."""
        self.folder.mkdir()
        key = self.folder / "m.pem"
        made = processes.run(
            processes.muniment(
                "keygen", "--name", self.key_name, "--use", "witness", "--algorithm", "ed25519",
                "--out", key,
            ),
            code=0,
        )  # fmt: skip
        self.vkey = parse_vkey(made.stdout.strip())
        self.port = free_port()
        (self.folder / "witness.toml").write_text(
            f'listen = "127.0.0.1:{self.port}"\ndatabase = "w.db"\n'
            f"[[log]]\nvkeys = {json.dumps(list(log_keys))}\n"
            f'[mirror]\nname = "{self.key_name}"\nkeys = ["m.pem"]\ndatabase = "m.db"\n'
        )
        asyncio.run(create_mirror(self.folder / "m.db", [self.vkey]))
        asyncio.run(create(self.folder / "w.db", [self.vkey], "init"))

    def start(self) -> str:
        """Starts it; returns its line of a policy."""
        self.process = processes.start(
            processes.muniment_witness("serve", "--config", self.folder / "witness.toml")
        )
        return f"witness {self.name} {self.vkey} {self.url}\n"
