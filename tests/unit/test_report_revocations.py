"""What revocations cut: held against a naive walk, and by the keys that signed."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import index_tools
import logsim
from index_tools import NOW, ORIGIN
from muniment.records.api import Decision, Edge, Record, Revocation, Target, encode_record
from muniment.records.canonical import encode_canonical
from muniment.records.manifest import NO_PREVIOUS, build_batch
from muniment.report.scope import scope_of
from reports import entries_of, replica, report_of

KEY = index_tools.KEYS[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report") / "replica"


def descendants(records: list[Record], runs: set[str]) -> set[str]:
    """Runs, and all that they triggered, by looking at every edge again and again."""
    found, before = set(runs), set[str]()
    while found != before:
        before = set(found)
        found |= {
            one.from_.id
            for one in records
            if isinstance(one, Edge)
            and one.relation == "triggered_by"
            and one.to.origin in (None, ORIGIN)
            and one.from_.origin in (None, ORIGIN)
            and one.to.id in before
        }
    return found


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 400))
def test_runs_and_decisions_fall_with_what_they_hang_on(place: Path, seed: int, size: int) -> None:
    entries = entries_of(Random(seed), size)
    records = [record for _, record in index_tools.known_records(entries)]
    decisions = {
        index: one for index, one in index_tools.known_records(entries) if isinstance(one, Decision)
    }
    with replica(place, entries) as reader:
        found = report_of(reader, scope_of(NOW - 300, NOW + 1000))["revocations"]
    for row in found["rows"]:
        cuts = row["cuts"]
        assert cuts["whole"] is ("+" in row["id"] or row["target"] != "key")
        if row["target"] == "key":
            continue
        named = [one for one in decisions.values() if one.id == row["id"]]
        begun = {row["id"]} if row["target"] == "run" else {one.execution for one in named}
        runs = descendants(records, {run for run in begun if run is not None})
        assert cuts["runs"] == len(runs)
        cut = [
            index
            for index, one in decisions.items()
            if one.execution in runs or (row["target"] == "decision" and one.id == row["id"])
        ]
        assert cuts["decisions"]["count"] == len(cut)
        assert cuts["decisions"]["last"] == (cut[-1] if cut else None)


def revocation(key: str) -> bytes:
    return encode_record(
        Revocation(
            v=1,
            id="r",
            time=NOW * 1000,
            producer=logsim.GATEWAY,
            target=Target(key=key),
            since=NOW,
            reason="stolen",
        )
    )


def decision(number: int, **members: Any) -> bytes:
    return encode_canonical({**json.loads(logsim.decision(number)), **members})


def cuts_of(place: Path, key: str, entries: list[bytes]) -> dict[str, Any]:
    with replica(place, [*entries, revocation(key)]) as reader:
        [row] = report_of(reader, scope_of(NOW, NOW + 60))["revocations"]["rows"]
    return row["cuts"]


def test_with_a_gateways_key_falls_what_its_manifests_cover(place: Path) -> None:
    batches = [decision(0), decision(1)], [decision(2)]
    entries: list[bytes] = []
    for number, records in enumerate(batches):
        signer = logsim.GATEWAY_SIGNER
        made = build_batch(ORIGIN, signer, f"s{number}", 0, NO_PREVIOUS, records)
        entries += [*records, made.manifest_note]
    vkey = logsim.GATEWAY_SIGNER.vkey
    cuts = cuts_of(place, f"{vkey.name}+{vkey.key_id:08x}", entries)
    assert (cuts["batches"], cuts["records"], cuts["decisions"]["count"]) == (2, 3, 0)
    other = cuts_of(place, f"{vkey.name}+00000000", entries)
    assert (other["batches"], other["records"], other["decisions"]["count"]) == (0, 0, 0)


def test_what_a_runtimes_key_cuts_is_not_said_to_be_nothing(place: Path) -> None:
    artifact = {
        "scope": {"actions": ["call"], "resources": [{"type": "tool"}]},
        "binding": {"thumbprint": f"sha256:{'cd' * 32}"},
        "policy": {"id": "p", "revision": "1", "digest": f"sha256:{'ab' * 32}"},
        "validity": {"not_before": NOW, "not_after": NOW + 60},
        "attribution": {"authority": "ops"},
    }
    cuts = cuts_of(place, f"sha256:{'cd' * 32}", [decision(0, artifact=artifact)])
    assert (cuts["decisions"]["count"], cuts["whole"]) == (0, False)


def test_with_an_authoritys_or_approvers_key_fall_the_decisions_that_rest_on_it(
    place: Path,
) -> None:
    approval = {
        "id": "a",
        "request": "q",
        "gateway": logsim.GATEWAY,
        "call": f"sha256:{'ab' * 32}",
        "decision": True,
        "approver": "carol",
        "at": NOW,
        "not_after": NOW + 60,
        "key": KEY,
        "signature": "AAAA",
    }
    artifact = {
        "scope": {"actions": ["call"], "resources": [{"type": "tool"}]},
        "policy": {"id": "p", "revision": "1", "digest": f"sha256:{'ab' * 32}"},
        "validity": {"not_before": NOW, "not_after": NOW + 60},
        "attribution": {"authority": "ops"},
    }
    entries = [
        decision(0, signatures=[{"key": KEY, "signature": "AAAA"}]),
        decision(1, artifact={**artifact, "approval": approval}),
        decision(2, artifact=artifact),
    ]
    cuts = cuts_of(place, KEY, entries)
    assert (cuts["decisions"]["ranges"], cuts["batches"]) == ([[0, 2]], 0)
