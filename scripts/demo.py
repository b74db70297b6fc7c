"""The demo: a log, three witnesses, a gateway and an auditor as real processes on this machine.

Everything it does, a user can do by hand: it only runs the three commands and prints them first.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
ORIGIN = "log.example/decisions"
GATEWAY = "gw.example/edge"
WITNESSES = {  # name: its signature algorithms
    "w1": ("ed25519",),
    "w2": ("mldsa44",),
    "w3": ("ed25519", "mldsa44"),
}
READY_WITHIN = 30  # seconds
COMMAND_WITHIN = 60  # seconds


class DemoError(Exception):
    """A step did not do what the demo says it does."""


def say(text: str = "") -> None:
    print(text, flush=True)


def step(title: str) -> None:
    say(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}")


class Demo:
    """One demo in one folder."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.processes: list[tuple[str, subprocess.Popen[bytes]]] = []

    def command(self, *argv: str, quiet: bool = False, fails: bool = False) -> str:
        """Print a command as a user types it, run it, return its stdout (stderr if it fails)."""
        if not quiet:
            say(f"  $ {' '.join(argv)}")
        done = subprocess.run(
            [BIN / argv[0], *argv[1:]],
            check=False,
            cwd=self.place,
            timeout=COMMAND_WITHIN,
            capture_output=True,
            text=True,
        )
        if (done.returncode != 0) != fails:
            raise DemoError(f"{argv[0]} {argv[1]}: exit {done.returncode}\n{done.stderr}")
        return done.stderr if fails else done.stdout

    def start(self, name: str, *argv: str) -> str:
        """Start one server, wait for its line of JSON that says it is ready, return its URL."""
        out = self.place / f"{name}.out"
        with out.open("wb") as stdout, (self.place / f"{name}.err").open("wb") as stderr:
            process = subprocess.Popen(
                [BIN / argv[0], *argv[1:]],
                cwd=self.place,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,  # with --keep it outlives this shell
            )
        self.processes.append((name, process))
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            line = out.read_text()
            if line.endswith("\n"):
                return str(json.loads(line)["url"])
            if process.poll() is not None:
                break
            time.sleep(0.02)
        raise DemoError(f"{name} did not start:\n{(self.place / f'{name}.err').read_text()}")

    def stop(self) -> None:
        """Ask every server to stop; none is left behind."""
        for _, process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for _, process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def decisions(demo: Demo, given: Path) -> int:
    """Write the decisions as NDJSON, one AuthZEN request and its answer a line."""
    pairs = json.loads(given.read_text(encoding="utf-8"))["evaluation"]
    lines = [
        json.dumps({"request": pair["request"], "response": {"decision": pair["expected"]}})
        for pair in pairs
    ]
    (demo.place / "decisions.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def start_everything(demo: Demo) -> dict[str, str]:
    """Make the keys and config files, start three witnesses and the log, return their URLs."""
    step("1. Keys. Every party makes its own; only the public halves (vkeys) are shared.")
    demo.command("muniment-log", "init", "log", "--origin", ORIGIN, "--listen", "127.0.0.1:0")
    log_keys = demo.command("muniment-log", "vkeys", "--config", "log/log.toml", quiet=True).split()
    witness_keys: dict[str, list[str]] = {}
    for name, algorithms in WITNESSES.items():
        options = [part for key in log_keys for part in ("--log", key)]
        options += [part for a in algorithms for part in ("--algorithm", a)]
        full = f"witness.example/{name}"
        say(f"  $ muniment-witness init {name} --name {full} --log … ({' and '.join(algorithms)})")
        argv = ["muniment-witness", "init", name, "--name", full, "--listen", "127.0.0.1:0"]
        demo.command(*argv, *options, quiet=True)
        argv = ["muniment-witness", "vkeys", "--config", f"{name}/witness.toml"]
        witness_keys[name] = demo.command(*argv, quiet=True).split()
    argv = ["muniment", "keygen", "--name", GATEWAY, "--use", "gateway", "--algorithm", "ed25519"]
    gateway_key = demo.command(*argv, "--out", "gateway.pem").strip()

    step("2. Three witnesses start, each its own process, database and keys.")
    urls: dict[str, str] = {}
    for name, algorithms in WITNESSES.items():
        urls[name] = demo.start(
            name, "muniment-witness", "serve", "--config", f"{name}/witness.toml"
        )
        say(f"  {name} at {urls[name]}, signs with {' and '.join(algorithms)}")

    step("3. The policy says whom to believe: this log, when two of the three witnesses agree.")
    lines = [f"log {key}" for key in log_keys]
    groups = []
    for name, keys in witness_keys.items():
        members = [name if len(keys) == 1 else f"{name}-{n}" for n in range(len(keys))]
        for member, key in zip(members, keys, strict=True):
            lines.append(f"witness {member} {key} {urls[name]}")
        if len(keys) > 1:
            groups.append(f"group {name} any {' '.join(members)}")
    lines += [*groups, f"group two-of-three 2 {' '.join(WITNESSES)}", "quorum two-of-three"]
    policy = "\n".join(lines) + "\n"
    (demo.place / "witnesses.policy").write_text(policy)
    for line in lines:
        say(f"  {line if len(line) < 90 else line[:60] + '…' + line[-28:]}")

    step("4. The log starts. It accepts batches signed by the gateway's key.")
    config = demo.place / "log" / "log.toml"
    text = config.read_text()
    config.write_text(
        text.replace("\n# policy = ", '\npolicy = "../witnesses.policy"\n# policy = ', 1)
        + f'\n[[gateway]]\nvkey = "{gateway_key}"\n'
    )
    urls["log"] = demo.start("log", "muniment-log", "serve", "--config", "log/log.toml")
    say(f"  log at {urls['log']}")
    return urls


def story(demo: Demo, given: Path) -> dict[str, str]:
    """The demo from its keys to the tampered leaf."""
    urls = start_everything(demo)
    log = urls["log"]

    count = decisions(demo, given)
    step(f"5. The gateway logs {count} decisions and waits until the witnesses have cosigned them.")
    argv = ["muniment", "submit", "--log", log, "--key", "gateway.pem", "--wait", "published"]
    began = time.perf_counter()
    receipts = demo.command(*argv, "decisions.ndjson").splitlines()
    took = time.perf_counter() - began
    receipt = json.loads(receipts[-1])
    say(f"  receipt: {json.dumps({k: receipt[k] for k in ('first', 'count', 'manifest', 'size')})}")
    say(f"  on disk, in the tree, cosigned by a quorum: {took:.2f} s for the whole command")

    index = count // 2
    step(f"6. The decision at index {index} and its proof become two files.")
    demo.command(
        *("muniment", "prove", "--log", log, "--index", str(index)),
        *("--out", "decision.tlog-proof", "--entry-out", "decision.json"),
    )
    say(f"  decision.json: {(demo.place / 'decision.json').read_text()[:110]}…")
    for line in (demo.place / "decision.tlog-proof").read_text().splitlines():
        say(f"  | {line if len(line) < 90 else line[:76] + '…'}")

    step("7. Anyone verifies them offline, with nothing but the policy.")
    verify = ["muniment", "verify", "decision.tlog-proof", "--policy", "witnesses.policy"]
    for line in demo.command(*verify, "--entry", "decision.json").splitlines():
        say(f"  {line}")

    step("8. An auditor rereads the whole log, trusting nobody.")
    audit = ["muniment", "audit", "--log", log, "--policy", "witnesses.policy"]
    for line in demo.command(*audit, "--state", "audit.state").splitlines():
        say(f"  {line}")

    step("9. Somebody changes one byte of the decision. The proof no longer fits.")
    leaf = bytearray((demo.place / "decision.json").read_bytes())
    leaf[len(leaf) // 2] ^= 1
    (demo.place / "tampered.json").write_bytes(leaf)
    for line in demo.command(*verify, "--entry", "tampered.json", fails=True).splitlines():
        say(f"  {line}")
    return urls


def explain_keep(demo: Demo, urls: dict[str, str]) -> None:
    """Say where everything is and how to talk to it."""
    step("Everything is still running:")
    for name, url in urls.items():
        say(f"  {name:4} {url}")
    log = urls["log"]
    say(f"""
  cd {demo.place}
  export PATH={BIN}:$PATH
  curl {log}/checkpoint
  curl {log}/v1/entries/0
  curl {log}/readyz
  muniment submit --log {log} --key gateway.pem --wait published decisions.ndjson
  muniment audit --log {log} --policy witnesses.policy --state audit.state

  stop: kill {" ".join(str(process.pid) for _, process in demo.processes)}
  then: rm -r {demo.place}""")


@contextlib.contextmanager
def folder(*, keep: bool) -> Iterator[Path]:
    """A new folder for keys and databases, removed at the end unless everything is kept."""
    place = Path(tempfile.mkdtemp(prefix="muniment-demo-"))
    try:
        yield place
    finally:
        if not keep:
            shutil.rmtree(place)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__.split("\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave everything running")
    parser.add_argument(
        "--decisions",
        type=Path,
        default=HERE / "demo-decisions.json",
        metavar="FILE",
        help="AuthZEN interop decisions to log instead of the demo's own",
    )
    options = parser.parse_args()
    os.umask(0o077)
    began = time.perf_counter()
    with folder(keep=options.keep) as place:
        demo = Demo(place)
        finished = False
        try:
            urls = story(demo, options.decisions)
            finished = True
        except (DemoError, subprocess.TimeoutExpired, OSError, ValueError, KeyError) as error:
            print(f"the demo failed: {error}", file=sys.stderr)
        finally:
            if not (finished and options.keep):
                demo.stop()
        if not finished:
            return 1
        if options.keep:
            explain_keep(demo, urls)
        else:
            took = time.perf_counter() - began
            say(f"\nDone in {took:.1f} s. All is stopped and removed; --keep leaves it running.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
