"""``muniment monitor`` beside a real log and witnesses under load: no alarm without a cause."""

import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from log_deployment import GATEWAY, Deployment, deployed
from logsim import decision

ROUNDS = 15


def keep_logging(deployment: Deployment, stop: threading.Event) -> None:
    stream = deployment.stream()
    numbers = itertools.count()
    while not stop.wait(0.01):
        records = [decision(next(numbers), producer=GATEWAY) for _ in range(3)]
        assert deployment.post(stream.take(records)).status == 200


def test_no_alarm_while_a_busy_log_behaves(tmp_path: Path) -> None:
    """Witnesses are ahead of what is published, and the log shows no tiles of that: no alarm."""
    stop = threading.Event()
    with deployed(tmp_path) as deployment:
        policy = deployment.folder / "log" / "witnesses.policy"
        urls = [witness.url for witness in deployment.witnesses]
        options = ["--json", "--interval", "0.1", "--grace", "5", "--max-age", "60"]
        arguments = ["monitor", *options, "--policy", str(policy), deployment.url, *urls]
        process = subprocess.Popen(
            [sys.executable, "-m", "muniment", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        loading = threading.Thread(target=keep_logging, args=(deployment, stop))
        loading.start()
        try:
            assert process.stdout is not None
            # Before anything is logged there may be nothing to see yet.
            rounds: list[dict[str, Any]] = []
            while not rounds or not rounds[-1]["agreeing"]:
                rounds.append(json.loads(process.stdout.readline()))
            rounds = [json.loads(process.stdout.readline()) for _ in range(ROUNDS)]
            deployment.witnesses[2].kill()
            alarms: list[dict[str, Any]] = []
            while not alarms:
                alarms = json.loads(process.stdout.readline())["alarms"]
            process.terminate()
            assert process.wait(30) == 0
        finally:
            stop.set()
            loading.join(30)
            process.kill()
            process.communicate()
    assert [alarm for told in rounds for alarm in told["alarms"]] == []
    sizes = [told["heads"][0]["head"]["size"] for told in rounds]
    assert len(set(sizes)) > ROUNDS // 2
    complete = [told for told in rounds if set(urls) <= set(told["agreeing"])]
    assert len(complete) > ROUNDS // 2
    assert all("earlier" in told["agreeing"] for told in rounds)
    assert {(alarm["kind"], alarm["party"]) for alarm in alarms} == {("unreachable", urls[2])}
