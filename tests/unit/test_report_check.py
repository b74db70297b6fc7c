"""Reports made again: what was changed in one is found, and so is what was changed in a replica."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result

import chains
import index_tools
import logsim
from index_tools import NOW
from muniment.cli import cli
from muniment.report.build import basis_again, build_report, program
from muniment.report.forms import FORMS
from muniment.report.queries import time_text
from muniment.report.reading import Keys
from muniment.report.scope import scope_of
from muniment.report.seed import Seed
from muniment.tlog.checkpoint import sign_checkpoint
from muniment.tlog.cosignature import Ed25519Cosigner
from reports import entries_of, replica

ENTRIES = entries_of(Random(5), 450)
SIZE = 300
WINDOW = ["--from", str(NOW - 300), "--to", str(NOW + 1000)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a replica of SIZE leaves, its reports, and the policy."""
    place = tmp_path_factory.mktemp("check")
    (place / "policy").write_text(logsim.POLICY_TEXT)
    with replica(place / "replica", ENTRIES[:SIZE]):
        pass
    outs = [f"--out={place / 'report'}.{form}" for form in FORMS]
    done = muniment(place, "report", *WINDOW, *outs)
    assert done.exit_code == 0, done.output
    return place


def muniment(place: Path, *words: str, replica_name: str = "replica") -> Result:
    common = ["--replica", str(place / replica_name)]
    policy = ["--policy", str(place / "policy")] if words[0] == "report" else []
    return CliRunner().invoke(cli, [*words, *common, *policy])


@pytest.mark.parametrize("form", FORMS)
def test_the_same_command_gives_the_same_bytes_and_a_check_says_so(place: Path, form: str) -> None:
    path = place / f"report.{form}"
    again = place / f"again.{form}"
    assert muniment(place, "report", *WINDOW, "--out", str(again)).exit_code == 0
    assert again.read_bytes() == path.read_bytes()
    done = muniment(place, "report", "--check", str(path))
    assert done.exit_code == 0, done.output
    assert "the same, byte for byte, made again from the 300 leaves" in done.output


@pytest.mark.parametrize("form", FORMS)
def test_a_report_can_be_checked_by_a_replica_that_has_grown(
    place: Path, form: str, tmp_path: Path
) -> None:
    (tmp_path / "policy").write_text(logsim.POLICY_TEXT)
    with replica(tmp_path / "replica", ENTRIES):
        pass
    done = muniment(tmp_path, "report", "--check", str(place / f"report.{form}"))
    assert done.exit_code == 0, done.output
    with replica(tmp_path / "replica", ENTRIES[:280]):
        pass
    done = muniment(tmp_path, "report", "--check", str(place / f"report.{form}"))
    assert done.exit_code == 7
    assert "has 280 leaves, the report is about 300" in done.output


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where there is a number or a text."""
    if isinstance(value, dict):
        return [one for name in value for one in places(value[name], (*path, name))]
    if isinstance(value, list):
        return [one for at, each in enumerate(value) for one in places(each, (*path, at))]
    return [path]


def test_whatever_is_changed_in_a_report_is_found(place: Path) -> None:
    values = json.loads((place / "report.json").read_bytes())
    random = Random(6)
    changeable = [path for path in places(values) if path[:2] != ("repeat", "seed")]
    for path in random.sample(changeable, 12):
        changed = json.loads((place / "report.json").read_bytes())
        holder = changed
        for step in path[:-1]:
            holder = holder[step]
        old = holder[path[-1]]
        holder[path[-1]] = old + 1 if isinstance(old, int) else f"{old}?"
        spoiled = place / "spoiled.json"
        spoiled.write_bytes(FORMS["json"](changed))
        done = muniment(place, "report", "--check", str(spoiled))
        assert done.exit_code == 4, done.output
        assert "/" + "/".join(map(str, path)) in done.output


def test_one_byte_of_a_page_is_found(place: Path) -> None:
    for form, old, new in (("html", b"</h1>", b" </h1>"), ("pdf", b"(Summary)", b"(Summery)")):
        data = (place / f"report.{form}").read_bytes()
        assert old in data
        spoiled = place / f"spoiled.{form}"
        spoiled.write_bytes(data.replace(old, new, 1))
        done = muniment(place, "report", "--check", str(spoiled))
        assert done.exit_code == 4
        assert "is not what the log says" in done.output


def test_a_leaf_that_was_changed_in_the_replica_ends_the_report(
    place: Path, tmp_path: Path
) -> None:
    path = tmp_path / "replica"
    path.write_bytes((place / "replica").read_bytes())
    with index_tools.database(path) as db:
        data = db.execute("SELECT data FROM bundle WHERE idx = 1").fetchone()[0]
        at = data.index(b'"time":') + 9
        digit = b"1" if data[at : at + 1] != b"1" else b"2"
        db.execute(
            "UPDATE bundle SET data = ? WHERE idx = 1", (data[:at] + digit + data[at + 1 :],)
        )
    (tmp_path / "policy").write_text(logsim.POLICY_TEXT)
    done = muniment(tmp_path, "report", *WINDOW, "--out", str(tmp_path / "r.json"))
    assert done.exit_code == 4
    assert "do not give the root" in done.output
    assert not (tmp_path / "r.json").exists()


def test_a_policy_that_does_not_accept_the_checkpoint_is_told(place: Path, tmp_path: Path) -> None:
    other = logsim.POLICY_TEXT.replace("majority 2", "majority 3").replace(
        str(logsim.WITNESSES[0].vkey), str(logsim.GATEWAY_SIGNER.vkey)
    )
    (tmp_path / "policy").write_text(other)
    (tmp_path / "replica").write_bytes((place / "replica").read_bytes())
    for words in (
        ["report", *WINDOW, "--out", str(tmp_path / "r.json")],
        ["report", "--check", str(place / "report.json")],
    ):
        done = muniment(tmp_path, *words)
        assert done.exit_code in (4, 7)
        assert "quorum" in done.output or "policy" in done.output


def test_a_report_by_a_policy_over_time_is_made_again(place: Path, tmp_path: Path) -> None:
    """It takes all versions along, and says what the one of its checkpoint's time asks for."""
    first = chains.version((), logsim.POLICY_TEXT, (NOW - 100, NOW + 100))
    second = chains.version(first, chains.body("w9"), (NOW + 100, NOW + 200))
    (tmp_path / "policy").write_bytes(chains.file(second))
    (tmp_path / "replica").symlink_to(place / "replica")
    path = tmp_path / "report.json"
    done = muniment(tmp_path, "report", *WINDOW, "--out", str(path))
    assert done.exit_code == 0, done.output
    told = json.loads(path.read_text())["checkpoint"]
    assert [one["witness"] for one in told["cosigners"]] == ["w1", "w2", "w3"]
    assert told["quorum"] != "all-of-them"
    assert muniment(tmp_path, "report", "--check", str(path)).exit_code == 0
    assert muniment(place, "report", "--check", str(path)).exit_code == 0


def test_a_check_tells_what_only_the_policy_of_the_report_says(place: Path) -> None:
    """Whoever makes a report could have their own key cosign, date the tree, and be named well."""
    own = Ed25519Cosigner("witness.example/own", logsim.private("own"))
    policy = (
        f"log {logsim.LOG_SIGNER.vkey}\nwitness w2 {logsim.WITNESSES[0].vkey}\n"
        f"witness w1 {own.vkey}\nquorum w1\n"
    ).encode()
    with index_tools.reading(place / "replica") as reader:
        signed = reader.state().checkpoint
        assert signed is not None
        ours = sign_checkpoint(signed.checkpoint, [own], NOW - 500).note.signatures
        note = signed.with_signatures(ours).encode()
        scope = scope_of(NOW - 300, NOW + 1000, [], 3600)
        seed = Seed(scope, Keys(), policy, note, program())
        made = build_report(basis_again(reader, logsim.POLICY, seed))
    path = place / "dated.json"
    path.write_bytes(FORMS["json"](made))
    done = muniment(place, "report", "--check", str(path))
    assert done.exit_code == 0, done.output
    assert f"Its time of the tree is {time_text(NOW - 500)}; by your policy it is " in done.output
    named = f"w2 ({logsim.WITNESSES[0].vkey}), w1 ({own.vkey})."
    assert done.output.endswith(f"witnesses that your policy does not have so: {named}\n")
    plain = muniment(place, "report", "--check", str(place / "report.json"))
    assert plain.output.endswith("that the checkpoint vouches for.\n")


def test_each_query_lists_as_many_decisions_as_its_figure_says(place: Path) -> None:
    """Among them one of each table; a query is run as the report has it."""
    import shlex

    values = json.loads((place / "report.json").read_bytes())
    decisions, denials = values["decisions"], values["denials"]
    figures = [decisions[name] for name in ("all", "allowed", "denied")]
    figures += denials["by_code"]
    for name in ("by_policy", "by_producer", "by_subject", "by_action", "by_resource"):
        figures += [row for row in decisions[name]["rows"] if row["queries"]][:3]
    assert len(figures) > 12
    for figure in figures:
        [query] = figure["queries"]
        words = shlex.split(query.replace("--replica REPLICA", f"--replica {place / 'replica'}"))
        done = CliRunner().invoke(cli, words[1:])
        assert done.exit_code == 0, done.output
        found = [json.loads(line)["index"] for line in done.stdout.splitlines()]
        leaves = figure["leaves"]
        listed = [at for first, end in leaves["ranges"] for at in range(first, end)]
        assert len(found) == leaves["count"]
        assert found[: len(listed)] == listed
        assert found[-1] == leaves["last"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--from", "0"], "expected Unix seconds"),
        ([*WINDOW], "give --from, --to and --out"),
        (["--from", str(NOW), "--to", str(NOW), "--out", "r.json"], "is empty"),
        ([*WINDOW, "--out", "r.docx"], "r.docx"),
        (["--check", "r.json", "--out", "r.json"], "--check has its window"),
    ],
)
def test_a_wrong_command_line_is_told(place: Path, words: list[str], told: str) -> None:
    done = muniment(place, "report", *words)
    assert done.exit_code in (2, 7)
    assert told in done.output


def test_a_replica_of_another_log_is_told(place: Path) -> None:
    words = ["--origin", "log.example/other", *WINDOW, "--out", str(place / "other.json")]
    done = muniment(place, "report", *words)
    assert done.exit_code == 7
    assert "is of log.example/sim, not log.example/other" in done.output


def test_a_file_that_is_no_report_is_told(place: Path) -> None:
    done = muniment(place, "report", "--check", str(place / "policy"))
    assert done.exit_code == 7
    assert "no report" in done.output


def test_subjects_narrow_a_report_whatever_their_order(place: Path) -> None:
    subjects = ["--subject", "agent", "agent 1", "--subject", "agent", "agent 0"]
    one, other = place / "one.json", place / "other.json"
    assert muniment(place, "report", *WINDOW, *subjects, "--out", str(one)).exit_code == 0
    turned = [*subjects[3:], *subjects[:3]]
    assert muniment(place, "report", *WINDOW, *turned, "--out", str(other)).exit_code == 0
    assert one.read_bytes() == other.read_bytes()
    found = json.loads(one.read_bytes())
    assert {row["id"] for row in found["decisions"]["by_subject"]["rows"]} == {"agent 0", "agent 1"}
    assert len(found["decisions"]["all"]["queries"]) == 2
