"""Commands that scripts run beside others: the scripts' exit statuses, and what is left of them."""

import os
import subprocess
from pathlib import Path

import pytest

BESIDE = Path(__file__).resolve().parents[2] / "scripts" / "beside.sh"


def _run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail; . '{BESIDE}'; {script}"],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("status", [0, 1])
def test_an_exit_status_is_the_scripts_own(tmp_path: Path, status: int) -> None:
    ran = _run(f"beside echo one; beside true; await 0; await 1; exit {status}", tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (status, "", "one\n")
    assert list(tmp_path.iterdir()) == []


def test_nothing_need_be_begun(tmp_path: Path) -> None:
    assert _run("true", tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_what_is_said_comes_in_its_turn(tmp_path: Path) -> None:
    turn = tmp_path / "turn"
    os.mkfifo(turn)
    slow = f"slow() {{ read -r line <'{turn}'; echo $line; }}; beside slow"
    ran = _run(f"{slow}; beside echo second; await 1 2>&1; echo first >'{turn}'; await 0", tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "second\n", "first\n")


def test_a_failure_is_told_and_ends_a_script_that_does_not_look(tmp_path: Path) -> None:
    fails = "fails() { echo why; return 7; }; beside fails"
    looks = _run(f"{fails}; await 0 || echo $?", tmp_path)
    assert (looks.returncode, looks.stdout, looks.stderr) == (0, "7\n", "why\n")
    assert _run(f"{fails}; await 0; echo on", tmp_path).returncode == 7


def test_what_still_runs_is_ended(tmp_path: Path) -> None:
    # The command holds the script's own output open, so `run` returns when that ends.
    waits = "exec 3>&1; waits() { exec tail -f /dev/null; }; beside waits"
    assert _run(f"{waits}; exit 3", tmp_path).returncode == 3
    assert list(tmp_path.iterdir()) == []
