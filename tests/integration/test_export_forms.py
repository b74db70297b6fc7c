"""Exported events as the libraries of those who made the forms read them, in their environment."""

import json
import subprocess
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import export_tools as tools
import index_tools
from commands import muniment
from muniment.records.api import parse_record
from muniment.tlog.merkle import leaf_hash

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv" / "forms" / "bin" / "python"


@pytest.fixture(scope="module")
def entries() -> list[bytes]:
    entries = tools.telling_entries()
    assert all(map(parse_record, entries[:9]))
    return entries


def read(form: str, entries: list[bytes], folder: Path) -> list[dict[str, Any]]:
    """Exports by the command, and reads by their library."""
    if not PYTHON.exists():
        pytest.skip("the libraries are not installed: scripts/forms does it")
    replica, out = folder / "replica.db", folder / "out"
    tools.follow(replica, index_tools.MemorySource(entries))
    muniment("export", "--replica", str(replica), "--format", form, "--to", str(out))
    done = subprocess.run(
        [PYTHON, ROOT / "tests" / "formside" / "read.py", form, out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_protobuf_reads_otlp(entries: list[bytes], tmp_path: Path) -> None:
    found = read("otlp", entries, tmp_path)
    known = list(index_tools.known_records(entries))
    assert len(found) == len(known)
    for one, (index, record) in zip(found, known, strict=True):
        assert one["service"] == {"service.name": "muniment"}
        assert one["body"].encode() == entries[index]
        assert one["time"] == record.time * 1_000_000
        assert one["observed"] == index_tools.NOW * 1_000_000_000
        assert one["attributes"]["log.record.uid"] == f"{index_tools.ORIGIN}#{index}"
        assert one["attributes"]["muniment.index"] == index
        assert one["attributes"]["muniment.leaf"] == b64encode(leaf_hash(entries[index])).decode()
        trace = getattr(record, "traceparent", None)
        parts = ["", one["trace"], one["span"], f"{one['flags']:02x}"]
        assert parts[1:] == (trace.split("-")[1:] if trace else ["", "", "00"])


def test_the_sdk_reads_cloudevents(entries: list[bytes], tmp_path: Path) -> None:
    found = read("cloudevents", entries, tmp_path)
    known = list(index_tools.known_records(entries))
    for one, (index, _) in zip(found, known, strict=True):
        assert one["attributes"]["id"] == str(index)
        assert one["data"]["record"] == json.loads(entries[index])
        assert one["again"]["source"] == f"//{index_tools.ORIGIN}"
        assert one["again"]["data"] == one["data"]


def test_the_schema_accepts_ocsf(entries: list[bytes], tmp_path: Path) -> None:
    found = read("ocsf", entries, tmp_path)
    known = dict(index_tools.known_records(entries))
    assert [one["sequence"] for one in found] == list(known)
    assert {one["class"] for one in found} == {0, 6003}
    for line in (tmp_path / "out").read_bytes().splitlines():
        event = json.loads(line)
        raw = event["raw_data"].encode()
        assert parse_record(raw) == known[event["metadata"]["sequence"]]
        assert event["raw_data_hash"]["value"] == sha256(raw).hexdigest()
