"""How clients connect: from the environment, never with a token in the clear."""

import os
from pathlib import Path

import msgspec
import pytest

from certificates import Authority
from muniment.errors import InputError
from muniment.http.access import Access
from muniment.http.logclient import LogClient
from muniment_service.tls import OutgoingTable

TOKEN = "a-read-token"


def test_the_environment(tmp_path: Path) -> None:
    assert Access.from_environment({}) == Access()
    assert Access.from_environment({"MUNIMENT_TLS_CA": "", "MUNIMENT_READ_TOKEN": ""}) == Access()
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(TOKEN + "\n")
    found = Access.from_environment(
        {
            "MUNIMENT_TLS_CA": "ca.pem",
            "MUNIMENT_TLS_CERTIFICATE": "me.crt",
            "MUNIMENT_TLS_KEY": "me.key",
            "MUNIMENT_READ_TOKEN_FILE": str(file),
        }
    )
    assert found == Access(Path("ca.pem"), Path("me.crt"), Path("me.key"), TOKEN)
    assert TOKEN not in repr(found)
    assert found.without_token().token is None
    both = {"MUNIMENT_READ_TOKEN_FILE": str(file), "MUNIMENT_READ_TOKEN": TOKEN}
    with pytest.raises(InputError, match="set one of them"):
        Access.from_environment(both)
    file.chmod(0o644)
    with pytest.raises(InputError, match="0644"):
        Access.from_environment({"MUNIMENT_READ_TOKEN_FILE": str(file)})


@pytest.mark.parametrize("content", [b"two words\n", b"tab\there\n", "ü\n".encode(), b"\n"])
def test_what_no_token_is(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_bytes(content)
    with pytest.raises(InputError, match=str(file)):
        Access.from_environment({"MUNIMENT_READ_TOKEN_FILE": str(file)})


@pytest.mark.parametrize(
    ("url", "goes"),
    [
        ("https://log.example", True),
        ("http://127.0.0.1:8100", True),
        ("http://[::1]:8100", True),
        ("http://localhost:8100", True),
        ("http://log.example", False),
        ("http://127.0.0.1.log.example", False),
        ("http://192.0.2.1", False),
    ],
)
def test_a_token_never_travels_in_the_clear(url: str, *, goes: bool) -> None:
    access = Access(token=TOKEN)
    if goes:
        assert access.headers(url) == {"Authorization": f"Bearer {TOKEN}"}
        LogClient(url, access=access)
    else:
        with pytest.raises(InputError, match="without TLS") as caught:
            LogClient(url, access=access)
        assert TOKEN not in str(caught.value)
    assert Access().headers(url) == {}


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("me")
    _, other = authority.issue("other")
    assert Access().ssl() is True
    assert Access(authority.file, certificate, key).ssl() is not True
    with pytest.raises(InputError, match=r"absent\.pem"):
        Access(tmp_path / "absent.pem").ssl()
    with pytest.raises(InputError, match=r"me\.key"):
        Access(key).ssl()
    with pytest.raises(InputError, match="needs its key"):
        Access(certificate=certificate).ssl()
    with pytest.raises(InputError, match="mismatch"):
        Access(certificate=certificate, key=other).ssl()
    key.chmod(0o640)
    with pytest.raises(InputError, match=r"TLS key \(mode 0640\)"):
        Access(certificate=certificate, key=key).ssl()
    certificate, key = authority.issue("sealed", passphrase=b"secret")
    with pytest.raises(InputError, match="encrypted"):
        Access(certificate=certificate, key=key).ssl()


def test_a_ca_that_is_no_regular_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ca")
    access = Access(ca=tmp_path / "ca")
    with pytest.raises(InputError, match="not a regular file"):
        access.ssl()
    with pytest.raises(InputError, match="not a regular file"):
        access.fingerprint()


@pytest.mark.parametrize("contact", ["mailto:ops@example.org", "https://example.org/ops"])
def test_a_contact(contact: str) -> None:
    assert Access(contact=contact).agent("muniment-log") == f"muniment-log ({contact})"
    table = msgspec.convert({"contact": contact}, OutgoingTable)
    assert table.access == Access(contact=contact)


@pytest.mark.parametrize(
    "contact",
    ["ops@example.org", "mailto:", "mailto:a\r\nb: c", "mailto:a(b", "http://a.example", ""],
)
def test_no_contact(contact: str) -> None:
    with pytest.raises(InputError, match="contact: expected mailto:"):
        Access(contact=contact)
    with pytest.raises(msgspec.ValidationError, match="contact: expected mailto:"):
        msgspec.convert({"contact": contact}, OutgoingTable)
