"""The demo: a log, three witnesses, a gateway and an auditor as real processes on this machine.

Everything it does, a user can do by hand: it only runs the three commands and prints them first.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from deployment import BIN, DeploymentError
from telling import Demo, folder, say, short, step

HERE = Path(__file__).resolve().parent


def decisions(demo: Demo, given: Path) -> int:
    """Write the decisions as NDJSON, one AuthZEN request and its answer a line."""
    pairs = json.loads(given.read_text(encoding="utf-8"))["evaluation"]
    lines = [
        json.dumps({"request": pair["request"], "response": {"decision": pair["expected"]}})
        for pair in pairs
    ]
    (demo.place / "decisions.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def start_everything(demo: Demo) -> None:
    """Make the keys and config files; start three witnesses and the log."""
    step("1. Keys. Every party makes its own; only the public halves (vkeys) are shared.")
    log_keys = demo.make_log()
    gateway_key = demo.make_gateway()

    step("2. Three witnesses start, each its own process, database and keys.")
    witness_keys = demo.start_witnesses(log_keys)

    step("3. The policy says whom to believe: this log, when two of the three witnesses agree.")
    for line in demo.write_policy(log_keys, witness_keys, 2).splitlines():
        say(f"  {short(line)}")

    step("4. The log starts. It accepts batches signed by the gateway's key.")
    demo.configure_log(gateways=[gateway_key])
    say(f"  log at {demo.start_log()}")


def story(demo: Demo, given: Path) -> None:
    """The demo from its keys to the tampered leaf."""
    start_everything(demo)
    log = demo.urls["log"]

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
        say(f"  | {short(line)}")

    step("7. Anyone verifies them offline, with nothing but the policy.")
    verify = ["muniment", "verify", "decision.tlog-proof", "--policy", "trust.policy"]
    for line in demo.command(*verify, "--entry", "decision.json").splitlines():
        say(f"  {line}")

    step("8. An auditor rereads the whole log, trusting nobody.")
    audit = ["muniment", "audit", "--log", log, "--policy", "trust.policy"]
    audit += ["--gateway", "gateway.vkey", "--state", "audit.state"]
    for line in demo.command(*audit).splitlines():
        say(f"  {line}")

    step("9. Somebody changes one byte of the decision. The proof no longer fits.")
    leaf = bytearray((demo.place / "decision.json").read_bytes())
    leaf[len(leaf) // 2] ^= 1
    (demo.place / "tampered.json").write_bytes(leaf)
    for line in demo.command(*verify, "--entry", "tampered.json", fails=True).splitlines():
        say(f"  {line}")


def explain_keep(demo: Demo) -> None:
    """Say where everything is and how to talk to it."""
    step("Everything is still running:")
    for name, url in demo.urls.items():
        say(f"  {name:4} {url}")
    log = demo.urls["log"]
    say(f"""
  cd {demo.place}
  export PATH={BIN}:$PATH
  curl {log}/checkpoint
  curl {log}/v1/entries/0
  curl {log}/readyz
  muniment submit --log {log} --key gateway.pem --wait published decisions.ndjson
  muniment audit --log {log} --policy trust.policy --gateway gateway.vkey \\
    --state audit.state

  stop: kill {" ".join(str(process.pid) for process in demo.processes.values())}
  then: rm -r {demo.place}""")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--keep", action="store_true", help="leave everything running")
    parser.add_argument(
        "--decisions",
        type=Path,
        default=HERE / "demo-decisions.json",
        metavar="FILE",
        help="AuthZEN interop decisions to log instead of the demo's own",
    )
    parser.add_argument(
        "--agent",
        action="store_true",
        help="an agent and its tools, with the gate between them, instead",
    )
    options = parser.parse_args()
    if options.agent and options.keep:
        parser.error("--keep: the tools of --agent end with their agent")
    os.umask(0o077)
    began = time.perf_counter()
    with folder(keep=options.keep) as place:
        demo = Demo(place, outlives=options.keep)
        finished = False
        try:
            if options.agent:
                # Needs the package `mcp`, which the environment of scripts/demo --agent has.
                from agentdemo import story as agents_story  # noqa: PLC0415

                agents_story(demo)
            else:
                story(demo, options.decisions)
            finished = True
        except (DeploymentError, subprocess.TimeoutExpired, OSError, ValueError, KeyError) as error:
            print(f"the demo failed: {error}", file=sys.stderr)
        finally:
            if not (finished and options.keep):
                demo.stop()
        if not finished:
            return 1
        if options.keep:
            explain_keep(demo)
        else:
            took = time.perf_counter() - began
            kept = "" if options.agent else "; --keep leaves it running"
            say(f"\nDone in {took:.1f} s. All is stopped and removed{kept}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
