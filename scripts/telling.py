"""What the demos have in common: each command is shown before it runs, and nothing is left."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from deployment import COMMAND_WITHIN, WITNESSES, Deployment


def say(text: str = "") -> None:
    print(text, flush=True)


def short(text: str) -> str:
    """The two ends of a text too long for a line: keys are 60 to 1,800 characters."""
    return text if len(text) <= 90 else f"{text[:60]}…{text[-24:]}"


def step(title: str) -> None:
    say(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}")


class Demo(Deployment):
    """A deployment that shows each command before it runs."""

    def command(
        self, *argv: str | Path, fails: bool = False, within: float = COMMAND_WITHIN
    ) -> str:
        """Print a command as a user types it, run it, return its stdout (stderr if it fails)."""
        line = " ".join(map(str, argv))
        # A post-quantum key is 1,800 characters.
        say(f"  $ {line if len(line) < 200 else line[:110] + '…'}")
        return super().command(*argv, fails=fails, within=within)

    def start_witnesses(self, log_keys: Sequence[str]) -> dict[str, list[str]]:
        """Make the witnesses' folders and start them; return their vkeys."""
        keys = {name: self.make_witness(name, of, log_keys) for name, of in WITNESSES.items()}
        for name, algorithm in WITNESSES.items():
            url = self.start_witness(name)
            signs = "ed25519 and mldsa44" if algorithm == "both" else algorithm
            say(f"  {name} at {url}, signs with {signs}")
        return keys


@contextlib.contextmanager
def folder(*, keep: bool) -> Iterator[Path]:
    """A new folder for keys and databases, removed at the end unless everything is kept."""
    place = Path(tempfile.mkdtemp(prefix="muniment-demo-"))
    try:
        yield place
    finally:
        if not keep:
            shutil.rmtree(place)
