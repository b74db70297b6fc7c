"""Files with secrets: who may have rights on them, and what is read."""

import os
from pathlib import Path

import pytest

from muniment.local.privatefiles import MAX_SECRET_SIZE, check_private, read_private, read_secret
from muniment.tlog.encoding import MunimentError


def private(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.unlink(missing_ok=True)
    path.touch(mode)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_secret_is_the_first_line(tmp_path: Path) -> None:
    for content, expected in (
        (b"pass word\n", b"pass word"),
        (b"x\r\n", b"x"),
        (b" x \n\nmore", b" x "),
        (b"y" * MAX_SECRET_SIZE, b"y" * MAX_SECRET_SIZE),
    ):
        assert read_secret(private(tmp_path / "secret", content), "passphrase") == expected
    for content in (b"", b"\nmore"):
        with pytest.raises(MunimentError, match="the token is empty"):
            read_secret(private(tmp_path / "secret", content), "token")
    with pytest.raises(MunimentError, match="longer than"):
        read_secret(private(tmp_path / "secret", b"y" * (MAX_SECRET_SIZE + 1)), "token")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o777])
def test_others_may_have_no_rights(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "secret", b"hunter2\n", mode)
    for read in (lambda: read_secret(path, "token"), lambda: check_private(path, "token")):
        with pytest.raises(MunimentError, match=f"{path}.*this token.*{mode:04o}") as caught:
            read()
        assert "hunter2" not in str(caught.value)
    path.chmod(0o400)
    assert read_secret(path, "token") == b"hunter2"


def test_the_group_of_a_systemd_credential_is_its_acl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = private(tmp_path / "secret", b"hunter2\n", 0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_secret(path, "token") == b"hunter2"
    path.chmod(0o444)
    with pytest.raises(MunimentError, match="0444"):
        read_secret(path, "token")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "elsewhere"))
    path.chmod(0o440)
    with pytest.raises(MunimentError, match="0440"):
        read_secret(path, "token")


def test_bounded_and_regular(tmp_path: Path) -> None:
    assert read_private(private(tmp_path / "file", b"12345"), "key", most=3) == b"1234"
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(MunimentError, match="not a regular file"):
        read_private(tmp_path / "fifo", "key", most=3)
    with pytest.raises(MunimentError, match="cannot read the key: No such file"):
        read_private(tmp_path / "none", "key", most=3)
