"""What operators get in deploy/ and docs/operations.md fits the services as they are."""

import contextlib
import ctypes
import json
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import engines
import processes
from log_deployment import Cluster, deployed
from muniment_service import exits
from waiting import SECONDS

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
MANUAL = ROOT / "docs" / "operations.md"
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
METRIC = re.compile(r"\bmuniment_(?:log|witness|gateway)_[a-z_]+")
SERIES = ("_bucket", "_count", "_sum", "_created")
PR_SET_MDWE = 65
MOST_EXPOSED = 2.0
"""`systemd-analyze security` gives 10 to a unit without any protection and calls 2 and less OK."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that asks one witness, and the witness; nothing runs yet."""
    place = tmp_path_factory.mktemp("operations")
    name = ("--name", "witness.example/w1")
    for argv in (
        processes.muniment_log("init", place / "log", "--origin", "log.example/decisions"),
        processes.muniment_witness("init", place / "w1", *name),
        processes.muniment_gateway("init", place / "gateway", "--log", "http://127.0.0.1:9"),
    ):
        processes.run(argv, code=0)
    (place / "trust.policy").write_text(
        "".join(f"log {key}\n" for key in vkeys(place)) + "quorum none\n"
    )
    policy = place / "gateway" / "gateway.toml"
    policy.write_text(re.sub("policy = .*", 'policy = "../trust.policy"', policy.read_text()))
    for config in (place / "log" / "log.toml", place / "w1" / "witness.toml", policy):
        text = re.sub(r'(listen = "127\.0\.0\.1):\d+', r"\1:0", config.read_text())
        config.write_text(text)
    return place


def vkeys(place: Path) -> list[str]:
    argv = processes.muniment_log("vkeys", "--config", place / "log" / "log.toml")
    return processes.run(argv, code=0).stdout.split()


def commands(folders: Path) -> dict[str, list[str]]:
    return {
        "log": processes.muniment_log("serve", "--config", folders / "log" / "log.toml"),
        "witness": processes.muniment_witness("serve", "--config", folders / "w1" / "witness.toml"),
        "gateway": processes.muniment_gateway(
            "serve", "--config", folders / "gateway" / "gateway.toml"
        ),
    }


@contextlib.contextmanager
def all_of(folders: Path) -> Iterator[dict[str, str]]:
    with contextlib.ExitStack() as running:
        yield {
            name: running.enter_context(processes.start(argv)).url
            for name, argv in commands(folders).items()
        }


def test_the_manual_and_the_alerts_name_the_metrics_that_there_are(
    folders: Path, database: str, bucket: engines.Bucket, tmp_path: Path
) -> None:
    known: set[str] = set()
    with (
        all_of(folders) as urls,
        deployed(tmp_path / "cluster", Cluster(database, bucket)) as cluster,
        deployed(tmp_path / "complete", complete="enabled = true\n", workers=2) as complete,
    ):
        for url in (*urls.values(), cluster.url, complete.url):
            with urllib.request.urlopen(f"{url}/metrics", timeout=SECONDS) as answer:
                text = answer.read().decode()
            known.update(re.findall(r"^# TYPE (muniment_\w+)", text, re.MULTILINE))
    known = {name for name in known if not name.endswith("_created")}
    assert set(METRIC.findall(MANUAL.read_text())) == known
    used = set(METRIC.findall(ALERTS.read_text()))
    bases = {
        next((name.removesuffix(s) for s in SERIES if name.endswith(s)), name) for name in used
    }
    assert bases <= known
    assert bases


def test_every_alert_is_explained() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", ALERTS.read_text()))
    explained = set(re.findall(r"^\| `([A-Z]\w+)` \|", MANUAL.read_text(), re.MULTILINE))
    assert alerts == explained


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_the_rules() -> None:
    checked = ["promtool", "check", "rules", str(ALERTS)]
    subprocess.run(checked, check=True, capture_output=True, timeout=60)


UNREACHABLE_BUCKET = """
rule_files: [alerts.yml]
evaluation_interval: 15s
tests:
- interval: 15s
  input_series:
  - {series: 'muniment_log_led{instance="a"}', values: '1 1 1 1 0 1 1 1 0 1 1 0 1 1 1 0 1 1 0 1 1'}
  - {series: 'muniment_log_database_unseen{instance="a"}', values: '0x20'}
  - {series: 'muniment_log_integration_lag_seconds{instance="a"}', values: '0+15x20'}
  alert_rule_test:
  - {eval_time: 5m, alertname: ClusterNotLed, exp_alerts: []}
  - eval_time: 5m
    alertname: ClusterIntegratesLate
    exp_alerts:
    - exp_labels: {severity: ticket, instance: a}
      exp_annotations: {summary: a sees records that have waited 300 s for the tree}
"""
"""Each term ends after seconds there: the lease is held most of the time, and nothing is done."""


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_somebody_is_told_of_terms_that_come_to_nothing(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    (tmp_path / "test.yml").write_text(UNREACHABLE_BUCKET)
    tested = ["promtool", "test", "rules", str(tmp_path / "test.yml")]
    done = subprocess.run(tested, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", ["log", "witness", "gateway"])
def test_a_service_manager_is_told(service: str, folders: Path, tmp_path: Path) -> None:
    """sd_notify(3), as the units' `Type=notify` needs it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with processes.start(commands(folders)[service], environment=environment) as process:
            assert manager.recv(200).decode() == f"READY=1\nSTATUS={process.url}"
            process.terminate()
            assert manager.recv(200) == b"STOPPING=1"


@pytest.mark.parametrize("service", ["log", "witness", "gateway"])
def test_the_services_run_without_writable_code(service: str, folders: Path) -> None:
    """MemoryDenyWriteExecute=yes: neither Python nor the libraries need such memory."""
    libc = ctypes.CDLL(None)
    refuse = f"import ctypes; ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0)"
    if libc.prctl(PR_SET_MDWE + 1, 0, 0, 0, 0) < 0:
        pytest.skip("this kernel cannot refuse writable code (Linux 6.3 can)")
    argv = commands(folders)[service]
    run = f"{refuse}; import os; os.execv({argv[0]!r}, {argv!r})"
    with (
        processes.start([sys.executable, "-c", run]) as process,
        urllib.request.urlopen(f"{process.url}/healthz", timeout=SECONDS) as answer,
    ):
        assert json.load(answer) == {"status": "ok"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_unit_is_well_formed_and_hardened(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/muniment/bin", str(Path(sys.executable).parent)))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    own = [
        line
        for line in checked.stderr.splitlines()
        # Before version 254 systemd does not know them, and goes on without.
        if unit.stem in line and not re.search("'(RestartSteps|RestartMaxDelaySec)'", line)
    ]
    assert (checked.returncode, own) == (0, [])
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", copy],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    exposed = re.search(r"exposure level for \S+: ([\d.]+)", rated.stdout)
    assert float(exposed[1]) <= MOST_EXPOSED


def test_the_units_stop_where_a_restart_cannot_help() -> None:
    from muniment_log.cli.exits import EXIT_IDENTITY, EXIT_ROLLED_BACK

    never = {exits.EXIT_CONFIG, exits.EXIT_DATABASE, EXIT_IDENTITY, EXIT_ROLLED_BACK}
    for unit in UNITS:
        found = re.search(r"^RestartPreventExitStatus=([\d ]+)$", unit.read_text(), re.MULTILINE)
        given_up = set(map(int, found[1].split()))
        assert never <= given_up
        # Nor does one give up, or try in a burst, where time may help.
        assert not given_up & {exits.EXIT_FAILED, exits.EXIT_ADDRESS, exits.EXIT_UNWRITABLE}
        assert "StartLimitIntervalSec=0\n" in unit.read_text()
        assert re.search(
            r"^RestartSteps=\d+\nRestartMaxDelaySec=\d+$", unit.read_text(), re.MULTILINE
        )
