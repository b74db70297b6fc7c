"""Configuration files: strict, and every error names file and key."""

import codecs
import os
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from muniment.tlog.encoding import FormatError
from muniment_service.config import (
    Address,
    Config,
    ConfigError,
    config_error,
    config_key,
    load_config,
)


class Inner(Config, frozen=True):
    vkey: str
    weight: int = 1


class Outer(Config, frozen=True):
    listen: Address
    keys: Annotated[tuple[Path, ...], Meta(min_length=1)]
    gateway: tuple[Inner, ...] = ()
    level: str = "info"
    mode: Literal["enforce", "observe"] = "enforce"
    quorum: Literal["all", "any"] | Annotated[int, Meta(ge=1)] = "all"
    logs: Literal["all"] | tuple[str, ...] = "all"


GOOD = 'listen = "127.0.0.1:80"\nkeys = ["a.pem", "/abs/b.pem"]\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "log.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD + '[[gateway]]\nvkey = "x"\n'), Outer)
    assert config.keys == (tmp_path / "a.pem", Path("/abs/b.pem"))
    assert config.listen == Address("127.0.0.1:80")
    assert config.gateway == (Inner(vkey="x"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "colour = 1", "colour: unknown key"),
        (GOOD + '[[gateway]]\nvkey="x"\n[[gateway]]\nvkey="y"\nz=1', "gateway[1].z: unknown key"),
        (GOOD + "leve = 1", "leve: unknown key; did you mean level?"),
        (GOOD + "[[gatway]]\nvkey = 1", "gatway: unknown key; did you mean gateway?"),
        (
            GOOD + "[[gateway]]\nvkey = 'x'\nwheight = 1",
            "gateway[0].wheight: unknown key; did you mean weight?",
        ),
        (
            GOOD + "[[gateway]]\nvkey = 'x'\nmode = 'observe'",
            "gateway[0].mode: unknown key; it belongs above the first [table] of the",
        ),
        (GOOD + "mode = 'enforced'", "mode: 'enforced' is none of 'enforce', 'observe'"),
        (GOOD + "quorum = 'most'", "quorum: 'most' is none of 'all', 'any', a number"),
        (GOOD + "logs = 'log.example'", "logs: 'log.example' is none of 'all', a list"),
        (GOOD + "[[gateway]]\nweight = 1", "gateway[0].vkey: missing"),
        (GOOD + "[[gateway]]\nvkey = 3", "gateway[0].vkey: Expected `str`, got `int`"),
        ('listen = "127.0.0.1:80"', "keys: missing"),
        ('keys = ["a"]\nlisten = "nowhere"', "listen: expected host:port"),
        ('keys = ["a"]\nlisten = 80', "listen: expected a string"),
        ('keys = ["a", 1]\nlisten = "h:1"', "keys[1]: expected a string"),
        ('keys = [""]\nlisten = "h:1"', "keys[0]: expected a path"),
        ('keys = []\nlisten = "h:1"', "keys: Expected `array` of length >= 1"),
        ("keys = [", "not TOML"),
        ("a = 1\na = 2", "not TOML"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, Outer)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "absent.toml", Outer)
    (tmp_path / "big.toml").write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ConfigError, match="larger than"):
        load_config(tmp_path / "big.toml", Outer)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(tmp_path / "binary.toml", Outer)
    os.mkfifo(tmp_path / "fifo.toml")  # nobody writes into it: to read it is to wait for ever
    for path in (tmp_path / "fifo.toml", tmp_path):
        with pytest.raises(ConfigError, match=r"not a regular file|Is a directory"):
            load_config(path, Outer)


def test_a_byte_order_mark_and_line_ends_of_other_systems_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "log.toml"
    path.write_bytes(codecs.BOM_UTF8 + GOOD.replace("\n", "\r\n").encode())
    assert load_config(path, Outer) == Outer(
        listen=Address("127.0.0.1:80"), keys=(tmp_path / "a.pem", Path("/abs/b.pem"))
    )


def test_values_that_only_the_service_can_judge() -> None:
    path = Path("w.toml")
    with (
        pytest.raises(ConfigError, match=r"^w\.toml: log\[0\]\.vkeys\[1\]: bad$"),
        config_key(path, "log[0].vkeys[1]"),
    ):
        raise ValueError("bad")
    with (
        pytest.raises(ConfigError, match=r"^w\.toml: policy: line 2: bad$"),
        config_key(path, "policy"),
    ):
        raise FormatError("policy: line 2: bad")
    with pytest.raises(ConfigError, match=r"^w\.toml: name: twice$"):
        config_error(path, "name", "twice")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::1]:8100", "::1", 8100),
        ("log.example:65535", "log.example", 65535),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    address = Address(text)
    assert (address.host, address.port) == (host, port)
    assert str(address) == text


@given(st.text())
def test_any_address_parses_or_raises_value_error(text: str) -> None:
    try:
        address = Address(text)
    except ValueError:
        return
    assert Address(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", ":80", "h:", "h:65536", "h:+1", "h:١", "::1:80", "h:80\n", "h:1:2"]
)
def test_bad_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        Address(text)


def test_paths_of_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD.replace("/abs/b.pem", "$CREDENTIALS_DIRECTORY/b.pem")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match=r"keys\[1\]: CREDENTIALS_DIRECTORY is not set"):
        load_config(write(tmp_path, text), Outer)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/log.service")
    config = load_config(write(tmp_path, text), Outer)
    assert config.keys[1] == Path("/run/credentials/log.service/b.pem")
