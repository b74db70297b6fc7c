"""scripts/shots: pictures of the explorer's pages, wide and narrow, in docs/."""

import json
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))
import browser  # pyright: ignore[reportMissingImports]  # of the tests  # noqa: E402
import governed  # pyright: ignore[reportMissingImports]  # noqa: E402
import logsim  # pyright: ignore[reportMissingImports]  # noqa: E402
from explore_tools import explored_elsewhere  # pyright: ignore[reportMissingImports]  # noqa: E402

MOST_BYTES = 150_000
HEIGHT = 640
PAGES = {"overview": "", "find": "find?answer=deny", "decision": "decision/0"}
RUNS = {"lineage": "lineage?run=call", "mesh": "mesh"}
"""Those of a log with runs that lead to each other."""
WIDTHS = {"": 1280, "-narrow": 390}
_HOURS = 40
_AGENTS = ("planner", "researcher", "billing", "support")
_TOOLS = ("crm.search", "mail.send", "db.query", "payments.refund")
_CODES = ("denied_by_policy", "denied_by_policy", "policy_mismatch", "could_not_evaluate")


def decision(random: Random, number: int, at: int) -> bytes:
    """A decision of one of a few agents on one of a few tools, at a time in milliseconds."""
    allowed = random.random() < 0.8
    value: dict[str, Any] = json.loads(logsim.decision(number, decision=allowed))
    value["time"] = at
    value["request"] |= {
        "subject": {"type": "agent", "id": random.choice(_AGENTS)},
        "resource": {"type": "tool", "id": random.choice(_TOOLS)},
    }
    if not allowed:
        value["denial"] = {"codes": [random.choice(_CODES)]}
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def make_log() -> logsim.LogSim:
    """Two days of decisions; the first leaf is one of a governed run."""
    random = Random(17)
    world = governed.World()
    world.producer = logsim.GATEWAY
    approval = governed.approved(logsim.GATEWAY)
    world.decide("call", id_="d-call", artifact=governed.artifact(approval=approval))
    world.outcome("call")
    sim = logsim.LogSim()
    sim.append(world.entries())
    number = 0
    for hour in range(_HOURS, 0, -1):
        batch = []
        for _ in range(random.randrange(5, 40)):
            number += 1
            at = (logsim.NOW - hour * 3600 + random.randrange(3600)) * 1000
            batch.append(decision(random, number, at))
        sim.append(batch)
    return sim


def make_runs() -> logsim.LogSim:
    """A plan that leads to calls of two gateways by two revisions; one is revoked."""
    world = governed.World(logsim.ORIGIN)
    world.time -= 3 * 3_600_000
    world.decide("plan", id_="d-plan", subject="orch")
    world.edge("performed_by", "run:plan", "agent:orch")
    world.edge("delegated_by", "agent:sub", "agent:orch")
    for run, parent, gateway, revision in (
        ("call", "plan", "gateway.example/one", "7"),
        ("fetch", "call", "gateway.example/one", "7"),
        ("write", "call", "gateway.example/two", "6"),
        ("mail", "write", "gateway.example/two", "6"),
    ):
        policy = governed.PolicyRef(id="main", revision=revision, digest=governed.DIGEST)
        world.time += 1_500_000
        with world.speaking_as(gateway):
            world.decide(run, artifact=governed.artifact(policy=policy))
            world.edge("performed_by", f"run:{run}", "agent:sub")
            world.edge("triggered_by", f"run:{run}", f"run:{parent}")
            world.outcome(run)
    with world.speaking_as("gateway.example/two"):
        world.revoke(execution="write")
    sim = logsim.LogSim()
    sim.entries = world.entries()
    return sim


def main() -> None:
    shoot(make_log(), PAGES)
    shoot(make_runs(), RUNS)


def shoot(sim: logsim.LogSim, pages: dict[str, str]) -> None:
    """Writes a picture of each page, in each width; below what each page begins with."""
    with (
        tempfile.TemporaryDirectory() as place,
        explored_elsewhere(sim, Path(place)) as url,
        browser.page() as page,
    ):
        for ending, width in WIDTHS.items():
            page.resize(width, HEIGHT)
            for name, path in pages.items():
                page.open(url + path)
                page.wait_until("document.querySelector('#drawn')?.textContent !== ''")
                top = page.evaluate("document.querySelector('#graph, #gateways')?.offsetTop ?? 0")
                file = ROOT / "docs" / f"explore-{name}{ending}.png"
                clip = {"x": 0, "y": top, "width": width, "height": HEIGHT}
                page.tab.screenshot(path=file, clip=clip, full_page=True)
                size = file.stat().st_size
                print(f"{file.relative_to(ROOT)}: {size:,} bytes")
                if size > MOST_BYTES:
                    raise SystemExit(f"{file.name} is larger than {MOST_BYTES:,} bytes")


if __name__ == "__main__":
    main()
