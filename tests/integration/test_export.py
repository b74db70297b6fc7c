"""`muniment-log export`, of a log in one file and of a cluster: what a plain file server serves."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import processes
import proxy_tools
from decisions import outcome
from log_deployment import PUBLISHED, Deployment, ask, cluster_for, deployed
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.tiles import ENTRIES, Tile, bundles_of, tile_at, tiles_of
from muniment_log.storage.staticfolder import StaticFolder
from ports import free_port
from staticserver import static
from waiting import eventually


@pytest.fixture(params=["sqlite", "cluster"], scope="module")
def log(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """One log for all tests: each makes it grow, and exports it to a folder of its own."""
    with deployed(tmp_path_factory.mktemp("log"), cluster_for(request)) as made:
        yield made


def export(log: Deployment, target: object) -> processes.Done:
    command = processes.muniment_log("export", "--config", log.config, target, "--progress")
    environment = {} if log.cluster is None else log.cluster.bucket.environment
    with processes.Process(command, environment=environment) as process:
        code = process.wait()
    return subprocess.CompletedProcess(command, code, process.stdout, process.stderr)


def grow(log: Deployment, *counts: int) -> int:
    """Submits batches of one new stream; the published size that holds them."""
    stream = log.stream()
    size = 0
    for count in counts:
        records = [outcome(f"{stream.label}-{stream.next + i}") for i in range(count)]
        answer = log.post(stream.take(records), PUBLISHED)
        assert answer.status == 200, answer.body
        size = answer.json["size"]
    return size


def files(folder: Path) -> dict[str, bytes]:
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    return without_signatures(found)


def without_signatures(found: dict[str, bytes]) -> dict[str, bytes]:
    """Late witnesses add theirs to a checkpoint that is published already."""
    if "checkpoint" not in found:
        return found
    return {**found, "checkpoint": found["checkpoint"].partition(b"\n\n")[0]}


def served(log: Deployment, size: int) -> dict[str, bytes]:
    """Everything that the log serves of its published tree."""
    tiles = [*tiles_of(size), *bundles_of(0, size, size)]
    paths = ["checkpoint", *(tile.path for tile in tiles)]
    return without_signatures({path: ask(f"{log.url}/{path}").body for path in paths})


def test_what_is_exported_is_what_the_log_serves(log: Deployment, tmp_path: Path) -> None:
    target = tmp_path / "public"
    size = grow(log, 5, 700)
    done = export(log, target)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert f"{size} leaves, {size} of them new" in done.stderr
    assert files(target) == served(log, size)
    # Only what is new is added; what was served stays, partial tiles included.
    before = files(target)
    larger = grow(log, 300)
    assert f"{larger} leaves, {larger - size} of them new" in export(log, target).stderr
    after = files(target)
    assert after == {**before, **served(log, larger)}
    assert export(log, target).returncode == 0
    assert files(target) == after
    policy = log.folder / "log" / "witnesses.policy"
    with static(target) as url:
        audit = processes.run(processes.muniment("audit", "--log", url, "--policy", policy))
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert str(larger) in audit.stdout + audit.stderr


def test_an_interrupted_export_goes_on(log: Deployment, tmp_path: Path) -> None:
    target = tmp_path / "public"
    size = grow(log, 9000, 9000)
    assert export(log, target).returncode == 0
    whole = files(target)
    # As a kill leaves it: no checkpoint, of the last step only some, in any order.
    (target / "checkpoint").unlink()
    for tile in tiles_of(size):
        if tile.is_partial:
            (target / tile.path).unlink()
    for number in range(45, size // 256):
        (target / Tile(ENTRIES, number).path).unlink()
        if number % 2:
            (target / Tile(0, number).path).unlink()
    kept = (target / Tile(ENTRIES, 3).path).stat().st_mtime_ns
    done = export(log, target)
    assert done.returncode == 0, done.stderr
    assert files(target) == whole
    # It says where it goes on.
    assert re.search(rf"^[\d,]+ of {size:,} leaves$", done.stderr, re.MULTILINE), done.stderr
    assert (target / Tile(ENTRIES, 3).path).stat().st_mtime_ns == kept


def test_a_target_that_is_not_of_this_log_is_left_alone(log: Deployment, tmp_path: Path) -> None:
    target = tmp_path / "public"
    size = grow(log, 300)
    assert export(log, target).returncode == 0
    path = target / tile_at(0, (size - 1) // 256, size).path  # the root is made of it
    whole = path.read_bytes()
    path.write_bytes(bytes(32) + whole[32:])
    grow(log, 1)
    done = export(log, target)
    assert done.returncode == 4
    assert re.search("do not make the root of its checkpoint", done.stderr)
    path.write_bytes(whole)
    assert export(log, target).returncode == 0
    note = (target / "checkpoint").read_bytes()
    assert parse_signed_checkpoint(note).checkpoint.size > size
    (target / "checkpoint").write_bytes(note.replace(b"log.example", b"log.another"))
    assert export(log, target).returncode == 4


def following(log: Deployment, target: Path) -> processes.Process:
    command = processes.muniment_log("export", "--config", log.config, "--follow", target)
    environment = {} if log.cluster is None else log.cluster.bucket.environment
    return processes.Process(command, environment=environment)


def exported(target: Path) -> int:
    """The size of the tree whose checkpoint is in a folder."""
    checkpoint = target / "checkpoint"
    if not checkpoint.exists():
        return 0
    return parse_signed_checkpoint(checkpoint.read_bytes()).checkpoint.size


def test_a_folder_is_kept_current_beside_the_log(log: Deployment, tmp_path: Path) -> None:
    target = tmp_path / "public"
    with following(log, target) as process:
        for count in (3, 300, 1):
            size = grow(log, count)
            eventually(lambda size=size: exported(target) >= size)  # type: ignore[misc]
        assert process.terminate() == 0, process.stderr
    current = served(log, exported(target))
    assert current.items() <= files(target).items()  # and partial tiles of the trees before
    assert f"{exported(target)} leaves" in process.stderr


def test_two_that_export_to_one_folder_take_turns(log: Deployment, tmp_path: Path) -> None:
    """What the second one begins with is not older than what the first one has left."""
    target = tmp_path / "target"
    grow(log, 3)
    command = processes.muniment_log("export", "--config", log.config, target)
    environment = {} if log.cluster is None else log.cluster.bucket.environment
    with ExitStack() as held:
        turn = held.enter_context(ExitStack())
        turn.enter_context(StaticFolder(target).alone())
        process = held.enter_context(processes.Process(command, environment=environment))
        follower = held.enter_context(following(log, target))
        eventually(lambda: "waiting for it" in process.stderr, lambda: process.stderr)
        eventually(lambda: "exports to this" in follower.stderr, lambda: follower.stderr)
        assert not list(target.iterdir())
        size = grow(log, 3)
        turn.close()
        assert process.wait() == 0, process.stderr
        assert exported(target) == size
        assert follower.terminate() == 0, follower.stderr


def test_it_waits_for_the_first_checkpoint(tmp_path: Path) -> None:
    with deployed(tmp_path / "log") as log:
        target = tmp_path / "public"
        with following(log, target) as process:
            size = grow(log, 2)
            eventually(lambda: exported(target) >= size)
            assert process.terminate() == 0, process.stderr


NGINX = """\
daemon off; master_process off; pid nginx.pid; error_log stderr warn; events {{}}
http {{
  access_log off; client_body_temp_path temp/a; proxy_temp_path temp/b; fastcgi_temp_path temp/c;
  uwsgi_temp_path temp/d; scgi_temp_path temp/e;
{server}}}
"""


def test_nginx_serves_a_folder_as_the_page_says(log: Deployment, tmp_path: Path) -> None:
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip("nginx is not installed")
    size = grow(log, 700)
    target = tmp_path / "public"
    assert export(log, target).returncode == 0
    page = Path(__file__).parents[2] / "docs" / "scale.md"
    block = re.search(r"^```nginx\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    port = free_port()
    server = block[1].replace("8400", str(port)).replace("root public", f"root {target}")
    (tmp_path / "temp").mkdir()
    (tmp_path / "nginx.conf").write_text(NGINX.format(server=server))
    argv = [found, "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-e", "stderr"]
    with proxy_tools.running(argv, port, tmp_path) as url:
        checkpoint = ask(f"{url}/checkpoint")
        assert checkpoint.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert checkpoint.headers["Cache-Control"] == "max-age=1"
        for path in ("tile/0/000", "tile/entries/000"):
            tile = ask(f"{url}/{path}")
            assert tile.headers["Content-Type"] == "application/octet-stream"
            assert "immutable" in tile.headers["Cache-Control"]
            assert tile.headers["Access-Control-Allow-Origin"] == "*"
            assert tile.body == ask(f"{log.url}/{path}").body
        packed = ask(f"{url}/tile/entries/000", headers={"Accept-Encoding": "gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        policy = log.folder / "log" / "witnesses.policy"
        audit = processes.muniment("audit", "--log", url, "--policy", policy, "--json")
        done = processes.run(audit, code=0)
        assert json.loads(done.stdout)["size"] >= size
