"""What a stranger says is shown on a terminal, and the terminal does not obey it."""

import pytest

from muniment_service.exits import EXIT_CONFIG, end
from muniment_witness.cli.remote import lines_of

EVIL = "a\x1b[2J\x9b31mb\r\x07\u202ec"


def test_the_last_word_of_a_command_holds_no_control_character(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        end("muniment-log", EXIT_CONFIG, f"{EVIL}\nmore")
    assert ended.value.code == EXIT_CONFIG
    assert capsys.readouterr().err == "muniment-log: a?[2J?31mb???c\n"


def test_the_status_of_a_witness_holds_no_control_character() -> None:
    log = {"origin": f"{EVIL}\nü", "cosigned": None, "known_size": "\x1b[5m", "evidence": []}
    alarm = {"kind": "fork", "subject": EVIL, "detail": "\x1b]0;title\x07"}
    peer = {"name": "p", "logs": [], "error": EVIL}
    lines = lines_of({"alarms": [alarm], "logs": [log], "peers": [peer]})
    assert len(lines) == 3
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert lines[1] == r"log    a?[2J?31mb???c?\xfc: cosigned nothing; knows ?[5m"
