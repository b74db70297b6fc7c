"""The soak run as a user starts it, short; and that its verdict can be bad."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def soaking(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import soaking.__main__ as main

    return main


def test_a_short_run_has_trouble_and_a_good_verdict(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "soaking", "--seconds", "8", "--seed", "3", "--json", str(report)],
        cwd=SCRIPTS,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("Verdict: good.\n")
    found = json.loads(report.read_text())
    assert found["acknowledged"] > 0
    assert found["permits"] > 0
    assert sum(found["done"].values()) > 0
    assert list(tmp_path.iterdir()) == [report]


def test_a_receipt_that_the_log_does_not_honour_is_a_bad_verdict(tmp_path: Path, soaking) -> None:
    class Forged(soaking.Soak):
        async def _compare(self) -> int:
            with (tmp_path / "receipts-0").open("ab") as receipts:
                receipts.write((0).to_bytes(8, "big") + bytes(32))
            return await super()._compare()

    options = argparse.Namespace(seconds=1.0, gateways=1, calls=20.0, pause=5.0, seed=1)
    report = Forged(tmp_path, options).run()
    assert not report["good"]
    assert report["faults"] == ["1 acknowledged records are not where they were"]
