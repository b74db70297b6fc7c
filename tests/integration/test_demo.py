"""scripts/demo.py as a newcomer runs it: it ends well, says what it promises, leaves nothing."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mcp_tools
from waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
INTEROP = ROOT.parent / "shared" / "data" / "authzen-todo-decisions.json"


def run_demo(tmp_path: Path, *options: str, python: str | Path = sys.executable) -> str:
    done = subprocess.run(
        [python, ROOT / "scripts" / "demo.py", *options],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        timeout=110,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def demo_processes(tmp_path: Path) -> list[str]:
    """Command lines of processes whose working directory lies in the demo's temporary folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(tmp_path):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_the_demo_proves_verifies_audits_and_catches_the_changed_byte(tmp_path: Path) -> None:
    out = run_demo(tmp_path)
    assert "logs 34 decisions" in out
    assert re.search(r"cosigned by a quorum", out)
    assert "c2sp.org/tlog-proof@v1" in out
    last = out[out.index("9. Somebody changes one byte") :]
    assert "not verified" in last
    assert "are not entry 17" in last
    assert list(tmp_path.iterdir()) == []
    if Path("/proc/self/cwd").exists():
        assert demo_processes(tmp_path) == []


def test_the_demo_with_an_agent_runs_what_has_a_permit_and_nothing_else(tmp_path: Path) -> None:
    out = run_demo(tmp_path, "--agent", python=mcp_tools.python())
    steps = re.split(r"\n\n(?=\d\. )", out)
    assert len(steps) == 9
    heard = ["\n".join(re.findall(r"model reads: (.*)", step)) for step in steps]
    assert heard[3].startswith("Ada: customer 7")
    assert heard[4].count("Denied (denied_by_policy)") == 2
    assert heard[5].startswith("Denied (authorization_discontinuity): no permit")
    assert heard[6].startswith("Denied (revoked_authorization)")
    assert heard[7].count("Denied (governance_mesh_discontinuity)") == 2
    ran = re.findall(r"ran: (.*)", steps[8])
    assert ran == ["find_customer(Ada)", "send_invoice(7, 80)"]
    answers = re.findall(r"gw.example/edge: (\w+) identity planner tools/call", steps[8])
    assert answers == ["allow", "allow", "deny", "deny", "allow"]
    assert list(tmp_path.iterdir()) == []
    if Path("/proc/self/cwd").exists():
        assert demo_processes(tmp_path) == []


@pytest.mark.skipif(not INTEROP.exists(), reason="no AuthZEN interop file beside this checkout")
def test_the_demo_logs_the_authzen_interop_decisions(tmp_path: Path) -> None:
    assert "logs 40 decisions" in run_demo(tmp_path, "--decisions", str(INTEROP))


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_ended_leaves_no_process(tmp_path: Path, which: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, ROOT / "scripts" / "demo.py"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "muniment submit" in line:  # the log and its witnesses run by then
                break
        assert len(demo_processes(tmp_path)) >= 4
        demo.send_signal(which)
        assert demo.wait(30) == -which
        eventually(lambda: not demo_processes(tmp_path))
