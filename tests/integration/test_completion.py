"""Shell completion: click's, for each of the commands, by the real shell."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
COMMANDS = ("muniment", "muniment-log", "muniment-witness", "muniment-gateway")


def bash(script: str) -> str:
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", script], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def completed(command: str, *words: str) -> list[str]:
    """What bash offers for the last of some words behind a command."""
    variable = f"_{command.replace('-', '_').upper()}_COMPLETE"
    function = f"_{command.replace('-', '_')}_completion"
    typed = " ".join(f"'{word}'" for word in (command, *words))
    return bash(
        f'eval "$({variable}=bash_source {command})"; COMP_WORDS=({typed}); '
        f'COMP_CWORD={len(words)}; {function} {command}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    ).split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ex"], ["explore", "export"]),
        (["export", "--fol"], ["--follow"]),
        (["export", "--format", "o"], ["otlp", "ocsf"]),
        (["tail", "--code", "could"], ["could_not_evaluate"]),
        (["lineage", "tr"], ["trace"]),
        (["--ver"], ["--version"]),
    ],
    ids=str,
)
def test_bash_completes(words: list[str], expected: list[str]) -> None:
    assert completed("muniment", *words) == expected


@pytest.mark.parametrize("command", COMMANDS[1:])
def test_every_command_completes(command: str) -> None:
    assert "serve" in completed(command, "serv")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_every_shell(shell: str) -> None:
    script = bash(f"_MUNIMENT_COMPLETE={shell}_source muniment")
    assert f"_MUNIMENT_COMPLETE={shell}_complete" in script


def test_names_are_completed_without_importing_their_commands() -> None:
    code = (
        "import sys; from muniment.cli import cli; import click;"
        "found = cli.shell_complete(click.Context(cli), 'a');"
        "print([one.value for one in found], 'muniment.cli.audit' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['approve', 'audit'] False\n"
