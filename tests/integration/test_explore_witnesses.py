"""``muniment explore`` beside a real log and its witnesses: what it is told to ask and to read."""

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from log_deployment import GATEWAY, deployed
from logsim import decision
from waiting import eventually


def read(url: str) -> str:
    """A page; empty while there is nothing to show."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            text: str = answer.read().decode()
    except urllib.error.HTTPError as error:
        if error.code != 503:
            raise
        return ""
    return text


def test_it_compares_what_real_witnesses_show_and_reads_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "found"
    folder.mkdir()
    (folder / "odd.evidence").write_bytes(b"nothing")
    with deployed(tmp_path / "deployment") as deployment:
        batch = deployment.stream().take([decision(1, producer=GATEWAY)])
        assert deployment.post(batch).status == 200
        policy = deployment.folder / "log" / "witnesses.policy"
        state = tmp_path / "monitor.state"
        watching = [
            *("monitor", deployment.url, *(one.url for one in deployment.witnesses)),
            *("--policy", str(policy), "--once", "--state", str(state)),
        ]

        def watches() -> bool:
            """A round, which is clean once all have cosigned what the log shows."""
            argv = [sys.executable, "-m", "muniment", *watching]
            return (
                subprocess.run(argv, capture_output=True, timeout=120, check=False).returncode == 0
            )

        eventually(watches, seconds=200.0)
        arguments = [
            *("explore", "--monitor", str(state)),
            *("--log", deployment.url, "--policy", str(policy), "--no-open"),
            *("--evidence", str(folder), "--ask-witnesses", "--interval", "0.1"),
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "muniment", *arguments], stdout=subprocess.PIPE, text=True
        )
        try:
            url = process.stdout.readline().strip()
            pages: list[str] = []

            def agrees() -> bool:
                """Each key of each witness has its row."""
                pages.append(read(f"{url}mesh"))
                agreeing = pages[-1].count("one history with the log’s head")
                return agreeing == pages[-1].count('data-name="Shows now"') > 2

            # They are asked again after a minute, should one have been behind the first time.
            eventually(agrees, lambda: pages[-1], seconds=200.0)
            assert GATEWAY in pages[-1]
            page = read(url)
            assert "What the monitor says" in page
            assert page.count("one history</td>") == len(deployment.witnesses)
            assert "is of one history with this replica" in page
            page = read(f"{url}evidence")
            assert "No evidence is known here" in page
            assert "odd.evidence" in page
            assert "<li>The witnesses of the policy that have an address.</li>" in page
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.communicate()
