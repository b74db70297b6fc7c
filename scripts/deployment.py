"""A log, its witnesses and a gateway's key as real processes in one folder, for the scripts here.

It does what an operator does: runs the three commands, writes the policy, waits for the line of
JSON with which a server says that it is ready.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

BIN = Path(sys.executable).parent
ORIGIN = "log.example/decisions"
GATEWAY = "gw.example/edge"
WITNESSES: Mapping[str, str] = {  # name: its signature algorithm
    "w1": "ed25519",
    "w2": "mldsa44",
    "w3": "both",
}
READY_WITHIN = 30  # seconds
COMMAND_WITHIN = 60  # seconds
STOP_WITHIN = 15  # seconds


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # prctl(2), Linux


def tie_to_parent() -> None:
    """In a new child, before it runs its program: it is to end when this script does, however.

    The signal comes when the thread that started it ends, so only a main thread may start it.
    """
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def cpu_seconds(pid: str | int) -> float:
    """Processor time that a running process has used; not that of its children."""
    status = Path(f"/proc/{pid}/stat").read_text()
    user, system = status.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class DeploymentError(Exception):
    """A command or a server did not do what it should."""


class Deployment:
    """Keys, config files and processes in one folder.

    Attributes:
        place: The folder.
        urls: Name of each running server to its URL; the log's name is "log".
        processes: Name to process.
        outlives: Whether the servers go on when this process ends.
    """

    def __init__(self, place: Path, *, outlives: bool = False) -> None:
        self.place = place
        self.outlives = outlives
        self.urls: dict[str, str] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def command(
        self, *argv: str | Path, fails: bool = False, within: float = COMMAND_WITHIN
    ) -> str:
        """Run one command in the folder; return its stdout, or its stderr if it must fail."""
        done = subprocess.run(
            [BIN / argv[0], *argv[1:]],
            check=False,
            cwd=self.place,
            timeout=within,
            capture_output=True,
            text=True,
        )
        if (done.returncode != 0) != fails:
            raise DeploymentError(f"{argv[0]} {argv[1]}: exit {done.returncode}\n{done.stderr}")
        return done.stderr if fails else done.stdout

    def start(self, name: str, *argv: str | Path) -> str:
        """Start a server in a session of its own, wait until it is ready, return its URL."""
        out, err = self.place / f"{name}.out", self.place / f"{name}.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [BIN / argv[0], *argv[1:]],
                cwd=self.place,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,  # it may outlive this shell (scripts/demo --keep)
                preexec_fn=None if self.outlives else tie_to_parent,  # noqa: PLW1509  # one thread
            )
        self.processes[name] = process
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline and process.poll() is None:
            if (line := out.read_text()).endswith("\n"):
                self.urls[name] = str(json.loads(line)["url"])
                return self.urls[name]
            time.sleep(0.01)
        raise DeploymentError(f"{name} did not start:\n{err.read_text()}")

    def run_beside(self, name: str, *argv: str | Path) -> None:
        """Run a program that is no server until it is ended, or everything is."""
        with (self.place / f"{name}.err").open("wb") as stderr:
            self.processes[name] = subprocess.Popen(
                [BIN / argv[0], *argv[1:]],
                cwd=self.place,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=None if self.outlives else tie_to_parent,  # noqa: PLW1509  # one thread
            )

    def end(self, name: str) -> None:
        """Ask one program to end, and wait for it."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=STOP_WITHIN)

    def stop(self) -> None:
        """Ask every server to stop, last started first; kill what does not."""
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(timeout=STOP_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def make_log(self, port: int = 0) -> list[str]:
        """Make the log's folder `log` with keys and config; return its vkeys.

        With port 0 every start chooses one.
        """
        argv = ["muniment-log", "init", "log", "--origin", ORIGIN, "--listen", f"127.0.0.1:{port}"]
        return self.command(*argv).split()

    def make_index_log(self, complete: str) -> list[str]:
        """Have the log keep an index log, by lines of `[complete]`; return that one's vkeys."""
        config = self.place / "log" / "log.toml"
        config.write_text(f"{config.read_text()}\n[complete]\n{complete}")
        return self.command("muniment-log", "new-index-log", "--config", config).split()

    def make_witness(
        self, name: str, algorithm: str, log_keys: Sequence[str], port: int = 0
    ) -> list[str]:
        """Make a witness's folder that knows the log; return its vkeys.

        `algorithm` is ed25519, mldsa44 or both.
        """
        argv = ["muniment-witness", "init", name, "--name", f"witness.example/{name}"]
        logs = [part for key in log_keys for part in ("--log", key)]
        argv += ["--listen", f"127.0.0.1:{port}", "--algorithm", algorithm, *logs]
        return self.command(*argv).split()

    def make_gateway(self, name: str = GATEWAY, out: str = "gateway.pem") -> str:
        """Make a gateway's key file and, beside it, its vkey; return the vkey."""
        argv = ["muniment", "keygen", "--name", name, "--use", "gateway", "--algorithm", "ed25519"]
        vkey = self.command(*argv, "--out", out).strip()
        (self.place / out).with_suffix(".vkey").write_text(f"{vkey}\n")
        return vkey

    def start_witness(self, name: str) -> str:
        """Start the witness in the folder of its name."""
        return self.start(name, "muniment-witness", "serve", "--config", f"{name}/witness.toml")

    def start_log(self) -> str:
        """Start the log in the folder `log`."""
        return self.start("log", "muniment-log", "serve", "--config", "log/log.toml")

    def write_policy(
        self, log_keys: Sequence[str], witness_keys: Mapping[str, Sequence[str]], quorum: int
    ) -> str:
        """Write `trust.policy`: these log keys, and `quorum` of the witnesses, all running."""
        lines = [f"log {key}" for key in log_keys]
        groups = []
        for name, keys in witness_keys.items():
            members = [name] if len(keys) == 1 else [f"{name}-{n + 1}" for n in range(len(keys))]
            for member, key in zip(members, keys, strict=True):
                lines.append(f"witness {member} {key} {self.urls[name]}")
            if len(keys) > 1:
                groups.append(f"group {name} any {' '.join(members)}")
        lines += [*groups, f"group witnesses {quorum} {' '.join(witness_keys)}", "quorum witnesses"]
        text = "\n".join(lines) + "\n"
        (self.place / "trust.policy").write_text(text)
        return text

    def configure_log(
        self,
        *,
        gateways: Sequence[str] = (),
        policy: bool = True,
        more: str = "",
        workers: int = 1,
    ) -> None:
        """Put the policy's path, the gateways and other lines into the log's config."""
        config = self.place / "log" / "log.toml"
        text = config.read_text()
        top = 'policy = "../trust.policy"\n' if policy else ""
        top += f"workers = {workers}\n" if workers > 1 else ""
        tables = "".join(f'\n[[gateway]]\nvkey = "{key}"\n' for key in gateways)
        # Members of the top level stand before the first table.
        config.write_text(f"{top}{text}{tables}{more}")

    def cpu_seconds(self, name: str) -> float:
        """Processor time that a running server and its child processes have used."""
        return sum(map(cpu_seconds, self._family(name)))

    def rss(self, name: str) -> int:
        """Resident memory of a running server and its child processes, in bytes."""
        pages = [
            int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in self._family(name)
        ]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    def _family(self, name: str) -> list[str]:
        pid = self.processes[name].pid
        return [str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
