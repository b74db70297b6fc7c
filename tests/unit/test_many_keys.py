"""As many witness keys as a checkpoint has lines for, and one more."""

from pathlib import Path

import pytest
from click.testing import CliRunner

import processes
import signing
from muniment.cli.policy import explain
from muniment.errors import InputError
from muniment_log.config import load
from muniment_service.config import ConfigError


def policy_of(logs: list[str], count: int) -> str:
    lines = [f"log {key}" for key in logs]
    names = [f"w{number}" for number in range(count)]
    for name in names:
        vkey = signing.witness(f"witness.example/{name}").vkey
        lines.append(f"witness {name} {vkey} http://127.0.0.1:1/{name}")
    return "\n".join([*lines, f"group all any {' '.join(names)}", "quorum all", ""])


@pytest.mark.parametrize(("count", "fits"), [(62, True), (63, False)])
def test_the_start_and_explain_refuse_what_no_checkpoint_carries(
    tmp_path: Path, count: int, *, fits: bool
) -> None:
    argv = processes.muniment_log("init", tmp_path / "log", "--origin", "log.example/decisions")
    keys = processes.run(argv, code=0).stdout.split()
    policy = tmp_path / "trust.policy"
    policy.write_text(policy_of(keys, count))
    config = tmp_path / "log" / "log.toml"
    config.write_text(f'policy = "{policy}"\n{config.read_text()}')
    explained = CliRunner().invoke(explain, [str(policy)])
    if fits:
        assert explained.exit_code == 0, explained.output
        assert len(load(config).signers) == 2
        return
    assert isinstance(explained.exception, InputError)
    assert "63 witness keys" in str(explained.exception)
    with pytest.raises(ConfigError, match="63 witness keys with a URL"):
        load(config)
