"""Key files on disk: who may read them, and that none is ever lost."""

import os

import pytest

from muniment.local.keyfiles import read_key_file, write_key_file
from muniment.tlog.encoding import FormatError, MunimentError
from muniment.tlog.keys.keyfile import MAX_KEY_FILE_SIZE, KeyFile, public_bytes
from muniment.tlog.note import ED25519, VKey
from signing import ed25519, mldsa44

KEY = KeyFile(ed25519("key"), VKey.of("gateway.example", ED25519, public_bytes(ed25519("key"))))


@pytest.mark.parametrize("passphrase", [None, b"secret"])
@pytest.mark.parametrize("key", [KEY, KeyFile(mldsa44("key"), None)], ids=["ed25519", "mldsa44"])
def test_round_trip(tmp_path, key, passphrase):
    path = tmp_path / "key.pem"
    write_key_file(path, key, passphrase)
    assert path.stat().st_mode & 0o777 == 0o600
    back = read_key_file(path, passphrase)
    assert back.vkey == key.vkey
    assert public_bytes(back.private) == public_bytes(key.private)


def test_mode_does_not_depend_on_umask(tmp_path):
    old = os.umask(0)
    try:
        write_key_file(tmp_path / "key.pem", KEY)
    finally:
        os.umask(old)
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600


def test_never_overwrites(tmp_path):
    path = tmp_path / "key.pem"
    write_key_file(path, KEY)
    before = path.read_bytes()
    with pytest.raises(MunimentError, match="exists already") as caught:
        write_key_file(path, KeyFile(ed25519("other"), None))
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    link = tmp_path / "link.pem"
    link.symlink_to(tmp_path / "nowhere.pem")
    with pytest.raises(MunimentError, match="exists already"):
        write_key_file(link, KEY)
    assert not (tmp_path / "nowhere.pem").exists()


def test_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "key.pem"
    with pytest.raises(MunimentError, match="No space left"):
        write_key_file(path, KEY)
    assert not path.exists()
    monkeypatch.undo()
    write_key_file(path, KEY)


def test_missing_directory(tmp_path):
    with pytest.raises(MunimentError, match="cannot write"):
        write_key_file(tmp_path / "none" / "key.pem", KEY)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o601, 0o777])
def test_refuses_what_others_have_rights_on(tmp_path, mode):
    path = tmp_path / "key.pem"
    write_key_file(path, KEY)
    path.chmod(mode)
    with pytest.raises(MunimentError, match=f"mode {mode:04o}"):
        read_key_file(path)
    path.chmod(0o400)
    assert read_key_file(path).vkey == KEY.vkey


def test_unreadable(tmp_path):
    with pytest.raises(MunimentError, match="No such file"):
        read_key_file(tmp_path / "missing.pem")
    with pytest.raises(MunimentError, match=r"not a regular file|Is a directory"):
        read_key_file(tmp_path)


def test_fifo_does_not_block(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o600)
    with pytest.raises(MunimentError, match="not a regular file"):
        read_key_file(path)


def test_link_to_a_key_is_followed(tmp_path):
    """Mounted secrets are links; the mode of the file that was opened is what counts."""
    write_key_file(tmp_path / "key.pem", KEY)
    (tmp_path / "link").symlink_to(tmp_path / "key.pem")
    assert read_key_file(tmp_path / "link").vkey == KEY.vkey
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(MunimentError, match="0644"):
        read_key_file(tmp_path / "link")


def test_errors_name_the_path_and_no_content(tmp_path):
    path = tmp_path / "key.pem"
    path.touch(0o600)
    path.write_bytes(b"hunter2\n")
    with pytest.raises(FormatError) as caught:
        read_key_file(path)
    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    path.write_bytes(b"x" * (MAX_KEY_FILE_SIZE + 2))
    with pytest.raises(FormatError, match="more than"):
        read_key_file(path)
    path.unlink()
    write_key_file(path, KEY, b"right")
    for passphrase in (None, b"wrong"):
        with pytest.raises(FormatError, match="passphrase") as caught:
            read_key_file(path, passphrase)
        assert str(path) in str(caught.value)
        assert "wrong'" not in str(caught.value)
