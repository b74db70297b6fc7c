"""The ready line, signals, logs and metrics of a service process."""

import asyncio
import gc
import json
import logging
import os
import signal
import time
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from muniment.local.lifecycle import stop_requested
from muniment.local.logs import configure, event
from muniment_service.metrics import LATENCY_BUCKETS, Metrics
from muniment_service.process import (
    COLLECT_AFTER,
    first_error,
    freeze_startup_objects,
    print_ready,
    run,
)
from waiting import SECONDS

LOGGER = logging.getLogger("test")


def test_the_ready_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_ready("http://127.0.0.1:8100")
    assert capsys.readouterr().out == '{"event":"ready","url":"http://127.0.0.1:8100"}\n'


def test_run_returns_and_raises() -> None:
    async def value() -> int:
        await asyncio.sleep(0)
        return 7

    async def fail() -> None:
        raise KeyError

    assert run(value()) == 7
    with pytest.raises(KeyError):
        run(fail())


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_signals_ask_to_stop(which: signal.Signals) -> None:
    async def wait() -> signal.Signals:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), which)
        async with asyncio.timeout(SECONDS):
            return await stop_requested()

    assert run(wait()) == which


def test_what_lives_for_ever_is_not_collected_again_and_again() -> None:
    thresholds = gc.get_threshold()
    try:
        freeze_startup_objects()
        assert gc.get_freeze_count() > 1000
        assert gc.get_threshold()[0] == COLLECT_AFTER
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def test_first_error() -> None:
    inner = KeyError("x")
    assert first_error(ExceptionGroup("a", [ExceptionGroup("b", [inner]), ValueError()])) is inner
    assert first_error(inner) is inner


@pytest.fixture
def _root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_root")
def test_json_logs_are_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    event(LOGGER, logging.DEBUG, "not shown")
    hostile = 'two\nlines "quoted" \u2028 \udc80'
    event(LOGGER, logging.INFO, "taken", origin=hostile, size=3, path=os, level="x")
    try:
        raise KeyError("why")
    except KeyError as error:
        event(LOGGER, logging.ERROR, "failed", exc_info=error)
    captured = capsys.readouterr()
    assert captured.out == ""
    first, second = (json.loads(line) for line in captured.err.split("\n") if line)
    assert first["message"] == "taken"
    assert (first["level"], first["level_"], first["size"]) == ("info", "x", 3)
    assert first["origin"] == hostile.replace("\udc80", "\\udc80")
    assert second["level"] == "error"
    assert "KeyError: 'why'" in second["traceback"]


@pytest.mark.usefixtures("_root")
def test_text_logs_keep_hostile_values_on_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("debug", "text")
    event(LOGGER, logging.DEBUG, "taken", origin="two\nlines", size=3)
    line = capsys.readouterr().err
    assert line.endswith("DEBUG   taken origin='two\\nlines' size=3\n")


def test_times_of_answers_are_a_histogram() -> None:
    metrics = Metrics("x")
    took = [0.0001, 0.0005, 0.0006, 0.3, 11.0]
    for seconds in took:
        metrics.times.add(("/r", "GET", 200), seconds)
    metrics.answered("/r", "GET", 404, time.perf_counter())
    found = {
        sample.labels["le"]: sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        if family.name == "x_http_request_seconds"
        for sample in family.samples
        if sample.name.endswith("_bucket") and sample.labels["status"] == "200"
    }
    assert found.keys() == {*map(str, LATENCY_BUCKETS), "+Inf"}
    for bound, count in found.items():
        assert count == sum(seconds <= float(bound) for seconds in took)
    text = metrics.render().decode()
    labels = '{method="GET",route="/r",status="200"}'
    assert f"x_http_request_seconds_count{labels} 5.0\n" in text
    assert f"x_http_request_seconds_sum{labels} {sum(took)}\n" in text
    assert 'x_http_request_seconds_count{method="GET",route="/r",status="404"} 1.0\n' in text


def test_metrics_are_not_global() -> None:
    for _ in range(2):
        metrics = Metrics("same_prefix")
        metrics.counter("things", "Things.", ("kind",)).labels("a").inc(2)
        metrics.gauge("size", "Size.").set(4)
        text = metrics.render().decode()
        assert 'same_prefix_things_total{kind="a"} 2.0' in text
        assert "same_prefix_size 4.0" in text
        assert "process_resident_memory_bytes" in text
