"""A report on a real log: decided by a real gateway, approved, revoked, erased; and read."""

import json
import time
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

import approving
import browser
import gateway_service
import processes
from approving import Person
from gateway_service import Service, evaluation
from log_deployment import GATEWAY, PUBLISHED, Deployment, deployed
from muniment.records.batchbody import join_body
from muniment.records.canonical import encode_canonical
from muniment.records.commitments import addendum
from processes import muniment, muniment_log
from reports import count

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")

HOSTILE = '</td><script>document.title = "taken"</script>\u202e'
SERVICE = "gw.example/service"
OURS = ("read", "write", "call")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def log(folder: Path) -> Iterator[Deployment]:
    with deployed(folder) as made:
        yield made


@pytest.fixture(scope="module")
def reports(log: Deployment, folder: Path) -> dict[str, Path]:
    """The log has seen everything that a report is about, and these are reports on it."""
    carol = approving.person(folder, "carol")
    service = gateway_service.made(log, folder / "gateway", name=SERVICE)
    approving.ask_people(service, [carol], 'actions = ["write"]')
    with service.running():
        decide(service, carol)
    begun = crafted(log)
    what = ("--digest", sha256(SECRET).hexdigest(), "--reason", "asked to", "--yes")
    processes.run(muniment_log("erase", "--config", log.config, *what), code=0)
    assert begun > 0
    (folder / "gateways").write_text(f"{log.signer.vkey}\n")
    (folder / "carol.vkey").write_text(f"{carol.vkey}\n")
    made = {form: folder / f"report.{form}" for form in ("html", "pdf", "json")}
    now = int(time.time())
    done = report(
        log,
        *("--log", log.url, "--replica", folder / "replica.db"),
        *("--gateway", folder / "gateways", "--approver", folder / "carol.vkey"),
        *("--from", now - 3_600, "--to", now + 3_600),
        *[f"--out={path}" for path in made.values()],
    )
    assert done.returncode == 0, done.stderr
    return made


SECRET = addendum("00" * 16, "what the customer said")


def decide(service: Service, carol: Person) -> None:
    """Two decisions by policy, and a call that waits for a person and then runs."""
    assert service.evaluate(evaluation("alice"))["decision"] is True
    assert service.evaluate(evaluation(HOSTILE))["decision"] is False
    asked = evaluation("alice", "write", context={"arguments": {"text": "new"}})
    denial = approving.denial_of(service.evaluate(asked))
    answer = service.post("/access/v1/requests", {**asked, "denial": denial})
    assert answer.status == 202, answer.body
    carol.approve(service, "allow", answer.json["task"]["id"], "--reason", "it is fine")
    assert service.evaluate(asked)["decision"] is True


def crafted(log: Deployment) -> int:
    """A run, its child, a run that nobody allowed, a withheld member, a revocation."""
    now = int(time.time() * 1000)

    def record(kind: str, number: int, **members: Any) -> bytes:
        common = {"v": 1, "id": f"x-{number}", "time": now + number, "producer": GATEWAY}
        return encode_canonical({**common, "kind": kind, **members})

    def decision(number: int, run: str, **more: Any) -> bytes:
        request = evaluation("planner", "call", "tool-1")
        return record(
            "decision", number, request=request, response={"decision": True}, execution=run, **more
        )

    withheld = {"/request/context": sha256(SECRET).hexdigest()}
    parent, child = ({"type": "run", "id": run} for run in ("run-parent", "run-child"))
    batch = [
        decision(1, "run-parent", addenda=withheld, kept="log"),
        decision(2, "run-child"),
        record("edge", 3, relation="triggered_by", **{"from": child, "to": parent}),
        record("outcome", 4, execution="run-child", status="completed"),
        record("outcome", 5, execution="run-nobody", status="completed"),
        record(
            "revocation",
            6,
            target={"execution": "run-parent"},
            since=now // 1000,
            reason="the task is over",
        ),
    ]
    body = join_body(log.stream().take(batch), [SECRET])
    answer = log.post(body, PUBLISHED)
    assert answer.status == 200, answer.body
    return answer.json["first"]


def report(log: Deployment, *words: object) -> processes.Done:
    policy = log.folder / "log" / "witnesses.policy"
    return processes.run(muniment("report", "--policy", policy, *words))


def test_the_figures_are_what_happened(reports: dict[str, Path]) -> None:
    found = json.loads(reports["json"].read_bytes())
    decisions = found["decisions"]
    rows = {row["action"]: row for row in decisions["by_action"]["rows"]}
    # What a gateway logs of its own configuration are decisions, too.
    others = sum(count(row) for name, row in rows.items() if name.startswith("muniment."))
    assert (count(decisions["all"]) - others, count(decisions["denied"])) == (6, 2)
    asked = {name: (rows[name]["allowed"], rows[name]["denied"]) for name in OURS}
    assert asked == {"read": (1, 1), "write": (1, 1), "call": (2, 0)}
    subjects = {row["id"]: count(row) for row in decisions["by_subject"]["rows"]}
    assert (subjects["alice"], subjects[HOSTILE], subjects["planner"]) == (3, 1, 2)
    of_service = [row for row in decisions["by_policy"]["rows"] if row["producer"] == SERVICE]
    assert any((row["digest"] or "").startswith("sha256:") for row in of_service)
    assert {row["code"]: count(row) for row in found["denials"]["by_code"]} == {
        "could_not_evaluate": 1,
        "denied_by_policy": 1,
    }

    runs = found["runs"]["without_authorization"]
    assert runs["by_kind"] == {"outcome-without-decision": 1}
    [told] = runs["rows"]
    [revoked] = found["revocations"]["rows"]
    assert (revoked["target"], revoked["id"]) == ("run", "run-parent")
    assert (revoked["cuts"]["runs"], revoked["cuts"]["decisions"]["count"]) == (2, 2)
    assert revoked["index"] == told["index"] + 1

    approvals = found["approvals"]
    assert (count(approvals["approved"]), count(approvals["decisions"])) == (1, 1)
    assert [row["approver"] for row in approvals["by_approver"]] == ["carol"]
    assert approvals["warnings"]["rows"] == []
    erasures = found["erasures"]
    assert (count(erasures), erasures["withheld"], erasures["erased"]) == (1, 1, 1)
    assert erasures["rows"][0]["reason"] == "asked to"
    assert found["gaps"]["findings"]["count"] == 0
    checkpoint = found["checkpoint"]
    assert checkpoint["quorum"] == "quorum2of3"
    assert len(checkpoint["cosigners"]) >= 2
    assert checkpoint["time"]
    said = {one["code"] for one in found["not_verified"]}
    assert {"completeness", "times", "signatures"} <= said  # the service's own key was not given
    assert "approvers" not in said


@pytest.mark.parametrize("form", ["html", "pdf", "json"])
def test_one_command_makes_it_again_although_the_log_has_grown(
    log: Deployment, reports: dict[str, Path], form: str
) -> None:
    batch = log.stream().take([encode_canonical(MORE)])
    assert log.post(batch, PUBLISHED).status == 200
    done = report(log, "--check", reports[form], "--log", log.url)
    assert done.returncode == 0, done.stderr
    assert "the same, byte for byte" in done.stdout


MORE = {
    "v": 1,
    "id": "more",
    "kind": "outcome",
    "time": 1_790_000_000_000,
    "producer": GATEWAY,
    "execution": "run-more",
    "status": "completed",
}


def test_a_figure_that_was_made_nicer_is_found(
    log: Deployment, reports: dict[str, Path], tmp_path: Path
) -> None:
    found = json.loads(reports["json"].read_bytes())
    found["runs"]["without_authorization"]["by_kind"] = {}
    nicer = tmp_path / "nicer.json"
    nicer.write_bytes(json.dumps(found, indent=1).encode() + b"\n")
    done = report(log, "--check", nicer, "--log", log.url)
    assert done.returncode == 4
    assert "/runs/without_authorization/by_kind" in done.stderr


def test_another_library_reads_the_pdf(reports: dict[str, Path]) -> None:
    reader = PdfReader(BytesIO(reports["pdf"].read_bytes()))
    text = " ".join("\n".join(page.extract_text() for page in reader.pages).split())
    for words in ("denied 2", "runs without authorization 1", "erasures 1"):
        assert words in text
    assert "run-parent" in text
    assert "quorum2of3" in text


def test_a_browser_shows_the_page_and_asks_nobody(reports: dict[str, Path]) -> None:
    with browser.page() as page:
        page.open(reports["html"].as_uri())
        assert page.problems == []
        assert page.evaluate("document.title").startswith("Report on authorization decisions")
        assert page.evaluate("document.scripts.length") == 0
        text = page.text()
        assert HOSTILE[:-1] in text
        assert "\\u202e" in text
        assert "run-parent" in text
        aims = "[...document.querySelectorAll('a')].every((a) => document.querySelector(a.hash))"
        assert page.evaluate(aims) is True
        for width in (1280, 390):
            page.resize(width, 900)
            wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            assert page.evaluate(wide) is True
        colours = set()
        for scheme in ("light", "dark"):
            page.tab.emulate_media(color_scheme=scheme)
            colours.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            blue = page.evaluate("getComputedStyle(document.querySelector('.allow')).fill")
            assert blue != "rgb(0, 0, 0)"
        assert len(colours) == 2
        printed = page.tab.pdf(print_background=True)
        assert page.problems == []
    pages = PdfReader(BytesIO(printed)).pages
    assert len(pages) >= 3
    words = " ".join(pages[0].extract_text().split())
    assert "runs without authorization" in words
