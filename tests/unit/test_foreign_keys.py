"""Keys that other tools made: what each tool writes is read, and is the key that the tool says."""

import base64
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.tlog.encoding import FormatError
from muniment.tlog.keys import mldsa44
from muniment.tlog.keys.foreign import is_encrypted, parse_foreign_key
from muniment.tlog.keys.keyfile import algorithm_of, format_key_file, parse_key_file, public_bytes
from muniment.tlog.keys.pkcs8 import parse_private_key
from muniment.tlog.note import parse_vkey
from signing import ed25519, mutations
from waiting import SECONDS

KEYS = Path(__file__).parents[1] / "keys"
PASSPHRASE = b"test passphrase of fixtures"


def content(name: str) -> bytes:
    return (KEYS / name).read_bytes()


def public(name: str) -> bytes:
    """The public key of a file, as the tool that made it tells."""
    data = content(name)
    if name.endswith(".vkey"):
        return parse_vkey(data.decode().strip()).public
    if data.startswith(b"ssh-ed25519 "):
        return base64.b64decode(data.split()[1])[-32:]
    return load_pem_public_key(data).public_bytes_raw()


def der_of(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(pem.split(b"\n")[1:-2]))


def pem_of(der: bytes, label: str = "PRIVATE KEY") -> bytes:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode()


PKCS8 = [
    ("openssl-mldsa44-seed-priv.pem", "openssl-mldsa44.pub"),
    ("openssl-mldsa44-seed-only.pem", "openssl-mldsa44.pub"),
    ("openssl-mldsa44-bare-seed.pem", "openssl-mldsa44.pub"),
    ("openssl-mldsa44-scrypt.pem", "openssl-mldsa44.pub"),
    ("openssl-mldsa44-encrypted.pem", "openssl-mldsa44-encrypted.pub"),
    ("openssl-ed25519.pem", "openssl-ed25519.pub"),
    ("openssl-ed25519-des3.pem", "openssl-ed25519.pub"),
    ("bouncycastle-mldsa44.pem", "bouncycastle-mldsa44.pub"),
    ("bouncycastle-mldsa44-encrypted.pem", "bouncycastle-mldsa44.pub"),
    ("bouncycastle-ed25519.pem", "bouncycastle-ed25519.pub"),
    ("bouncycastle-ed25519-encrypted.pem", "bouncycastle-ed25519.pub"),
]
OTHERS = [
    ("openssl-ed25519.der", "openssl-ed25519.pub"),
    ("openssh-ed25519", "openssh-ed25519.pub"),
    ("openssh-ed25519-encrypted", "openssh-ed25519-encrypted.pub"),
    ("go-note-ed25519.key", "go-note-ed25519.vkey"),
]


def passphrase_of(data: bytes) -> bytes | None:
    return PASSPHRASE if is_encrypted(data) else None


@pytest.mark.parametrize(("name", "beside"), PKCS8)
def test_a_key_file_may_be_what_another_tool_wrote(name: str, beside: str) -> None:
    data = content(name)
    key = parse_key_file(data, passphrase_of(data))
    assert public_bytes(key.private) == public(beside)
    assert key.vkey is None
    # Ours has the one form that every reader takes.
    again = parse_key_file(format_key_file(key.private, None, None), None)
    assert public_bytes(again.private) == public(beside)


@pytest.mark.parametrize(("name", "beside"), PKCS8 + OTHERS)
def test_each_form_is_imported(name: str, beside: str) -> None:
    data = content(name)
    assert is_encrypted(data) == any(word in name for word in ("encrypted", "scrypt", "des3")), name
    key = parse_foreign_key(data, passphrase_of(data), "ed25519")
    assert public_bytes(key.private) == public(beside)
    assert algorithm_of(key.private) == ("mldsa44" if "mldsa44" in name else "ed25519")


@pytest.mark.parametrize("name", ["ring-ed25519.der", "dalek-ed25519.pem", "go-ed25519.bin"])
def test_forms_that_hold_the_public_key(name: str) -> None:
    data = content(name)
    key = parse_foreign_key(data, None, "ed25519")
    assert (der_of(data) if name.endswith(".pem") else data).endswith(public_bytes(key.private))


def test_a_note_key_brings_its_name() -> None:
    key = parse_foreign_key(content("go-note-ed25519.key"), None, "ed25519")
    assert str(key.vkey) == content("go-note-ed25519.vkey").decode().strip()


def test_a_note_key_with_its_vkey() -> None:
    key, vkey = content("go-note-ed25519.key"), content("go-note-ed25519.vkey")
    for data in (key + vkey, vkey + key, b"\xef\xbb\xbf# mine\r\n  " + key + b"\r\n  " + vkey):
        assert str(parse_foreign_key(data, None, "ed25519").vkey) == vkey.decode().strip()


@pytest.mark.parametrize("algorithm", ["ed25519", "mldsa44"])
def test_a_seed_in_each_spelling(algorithm: str) -> None:
    # Among them \n, \r, space and a zero, which nothing may strip.
    seed = b"\n" + bytes(range(0xE0, 0xFE)) + b"\0"
    raw = parse_foreign_key(seed, None, algorithm).private
    plain = base64.b64encode(seed).decode()
    spellings = [
        seed.hex(), seed.hex().upper(), f"0x{seed.hex()}\n", seed.hex(":"), f"  {seed.hex()}\r\n",
        f"{seed.hex()[:32]}\n{seed.hex()[32:]}\n", f"# of the vault\n{seed.hex()}\n",
        plain, f"{plain}\n", plain.rstrip("="), base64.urlsafe_b64encode(seed).decode(),
        f"\ufeff{plain}\n",
    ]  # fmt: skip
    for text in spellings:
        key = parse_foreign_key(text.encode(), None, algorithm).private
        assert public_bytes(key) == public_bytes(raw), text
        assert algorithm_of(key) == algorithm
    assert public_bytes(
        parse_foreign_key(seed.hex().encode("utf-16"), None, algorithm).private
    ) == public_bytes(raw)


def test_a_seed_with_its_public_key() -> None:
    both = content("go-ed25519.bin")
    for data in (both, both.hex().encode(), base64.b64encode(both)):
        assert public_bytes(parse_foreign_key(data, None, "ed25519").private) == both[32:]
    for data in (both[:-1] + bytes([both[-1] ^ 1]), both[32:] + both[:32]):
        with pytest.raises(FormatError, match="not an Ed25519 seed with its public key"):
            parse_foreign_key(data, None, "ed25519")
    with pytest.raises(FormatError, match="no seed of an ML-DSA-44 key"):
        parse_foreign_key(both, None, "mldsa44")


EXPANDED = der_of(content("openssl-mldsa44-seed-priv.pem"))


def test_the_expanded_key_of_a_seed() -> None:
    """Against what OpenSSL and BouncyCastle computed."""
    for name in ("openssl-mldsa44-seed-priv.pem", "bouncycastle-mldsa44.pem"):
        der = der_of(content(name))
        assert mldsa44.expand(der[-2560 - 36 :][:32]) == der[-2560:]
    with pytest.raises(ValueError, match="31 bytes"):
        mldsa44.expand(bytes(31))


@settings(max_examples=60)
@given(at=st.integers(len(EXPANDED) - 2560, len(EXPANDED) - 1), bit=st.integers(0, 7))
def test_an_expanded_key_of_another_seed_is_refused(at: int, bit: int) -> None:
    der = bytearray(EXPANDED)
    der[at] ^= 1 << bit
    with pytest.raises(FormatError, match="not that of the seed") as caught:
        parse_key_file(pem_of(bytes(der)), None)
    assert caught.value.__cause__ is None


def test_another_seed_than_the_expanded_keys_is_refused() -> None:
    der = bytearray(EXPANDED)
    der[-2560 - 5] ^= 1
    with pytest.raises(FormatError, match="not that of the seed"):
        parse_key_file(pem_of(bytes(der)), None)


@pytest.mark.parametrize("name", ["openssl-mldsa44-priv-only.pem", "openssl-mldsa44-bare-priv.pem"])
def test_an_expanded_key_alone_says_what_to_do(name: str) -> None:
    for parse in (parse_key_file, lambda data, _: parse_foreign_key(data, None, "mldsa44")):
        with pytest.raises(FormatError, match=r"without its seed.*muniment keygen.*seed-only"):
            parse(content(name), None)


def test_the_public_key_in_version_2_must_be_the_private_keys() -> None:
    der = content("ring-ed25519.der")
    key = parse_private_key(der)
    # Older versions of ring wrap the BIT STRING.
    assert der[:2] == b"\x30\x51"
    assert der[-35:-32] == b"\x81\x21\x00"
    wrapped = b"\x30\x53" + der[2:-35] + b"\xa1\x23\x03\x21\x00" + der[-32:]
    assert public_bytes(parse_private_key(wrapped)) == public_bytes(key)
    # So do attributes (PKCS#12's friendly name and others) no harm.
    named = b"\x30\x53" + der[2:-35] + b"\xa0\x00" + der[-35:]
    assert public_bytes(parse_private_key(named)) == public_bytes(key)
    for other in (der[:-1] + bytes([der[-1] ^ 1]), wrapped[:-1] + bytes([der[-1] ^ 1])):
        with pytest.raises(FormatError, match="that of another key"):
            parse_private_key(other)
    for damaged in (der[:-1], der + b"\0", b"\x30\x80" + der[2:], der[:4] + b"\x02" + der[5:]):
        with pytest.raises(FormatError, match="damaged"):
            parse_private_key(damaged)


PLAIN = format_key_file(ed25519("key"), None, None)
PUBLIC = content("openssl-ed25519.pub")
WITH_PUBLIC = content("openssl-ed25519.pem") + PUBLIC


@pytest.mark.parametrize(
    "data",
    [
        WITH_PUBLIC,
        PUBLIC + content("openssl-ed25519.pem"),
        b"\xef\xbb\xbf" + WITH_PUBLIC,
        WITH_PUBLIC.decode().encode("utf-16"),
        b"".join(b"    " + line + b"  \r\n" for line in WITH_PUBLIC.split(b"\n")),
        b"\t" + WITH_PUBLIC.replace(b"\n", b"\n\t"),
        b"Schl\xfcssel f\xfcr den Test\n" + WITH_PUBLIC,
        b"# made by hand\n\n" + content("openssl-ed25519.pem") + b"\n# and kept\n",
        content("openssl-ed25519.pem").replace(b"KEY-----\n", b"KEY-----\n\n", 1),
        pem_of(b"whatever", "CERTIFICATE") + content("openssl-ed25519.pem"),
        content("openssl-ed25519.pem").replace(b"\n", b"\r"),
    ],
)
def test_what_editors_and_shells_make_of_a_file(data: bytes) -> None:
    expected = public("openssl-ed25519.pub")
    assert public_bytes(parse_key_file(data, None).private) == expected
    assert public_bytes(parse_foreign_key(data, None, "ed25519").private) == expected


def test_an_openssh_key_may_be_indented() -> None:
    data = b"\xef\xbb\xbf  " + content("openssh-ed25519").replace(b"\n", b"\r\n  ")
    key = parse_foreign_key(data, None, "ed25519")
    assert public_bytes(key.private) == public("openssh-ed25519.pub")


def test_the_public_key_in_an_openssh_key_must_be_the_private_keys() -> None:
    der = der_of(content("openssh-ed25519"))
    private = parse_foreign_key(content("openssh-ed25519"), None, "ed25519").private
    for known in (private.private_bytes_raw(), public_bytes(private)):
        other = der.replace(known, bytes([known[0] ^ 1]) + known[1:])
        with pytest.raises(FormatError, match="that of another key"):
            parse_foreign_key(pem_of(other, "OPENSSH PRIVATE KEY"), None, "ed25519")
    with pytest.raises(FormatError, match="damaged"):
        parse_foreign_key(pem_of(b"x" + der, "OPENSSH PRIVATE KEY"), None, "ed25519")


def test_a_vkey_line_may_stand_before_the_public_key() -> None:
    vkey = content("go-note-ed25519.vkey").strip()
    private = parse_foreign_key(content("go-note-ed25519.key"), None, "ed25519").private
    key = parse_key_file(b"  vkey " + vkey + b"\n" + format_key_file(private, None, None), None)
    assert str(key.vkey).encode() == vkey


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (PLAIN + PUBLIC, "public key in the file is that of another"),
        (PLAIN + content("bouncycastle-mldsa44.pub"), "public key in the file is that of another"),
        (PLAIN + pem_of(b"x", "PUBLIC KEY"), "damaged public key"),
        (PLAIN + content("openssl-ed25519.pem"), "2 private keys"),
        (PLAIN + content("openssh-ed25519"), "2 private keys"),
        (content("openssh-ed25519"), "OpenSSH one; `muniment keygen --from FILE"),
        (content("go-note-ed25519.key"), "`muniment keygen --from FILE"),
        (content("go-ed25519.bin"), "`muniment keygen --from FILE"),
        (content("openssl-ed25519.der"), "`muniment keygen --from FILE"),
        (PUBLIC, "a public key alone"),
    ],
)
def test_what_no_service_reads_names_the_command(data: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        parse_key_file(data, None)


NOTE = content("go-note-ed25519.key").decode().strip()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "empty"),
        (PLAIN.replace(b"\n", b"\\n"), r"lines of their own.*sed 's/\\\\n/\\n/g' FILE"),
        (b'KEY="' + PLAIN.strip() + b'"\n', "lines of their own"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "a certificate"),
        (b"log.example/a+55279534+AcAWJU/MLpYcroF1Qv9Y1vmQZjfsXLH56DA2jEGlv/88\n", "a vkey"),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\n", "puttygen"),
        (b'{"kty":"OKP","crv":"Ed25519"}', "jq"),
        (content("openssh-ed25519.pub"), "public key of SSH"),
        (content("openssh-ecdsa"), "ssh-keygen -t ed25519"),
        (content("openssh-ed25519")[:-120], "END"),
        (content("openssh-ed25519") + PLAIN, "more than one"),
        (der_of(PUBLIC), "a public key or a certificate"),
        (b"\x30\x05\x02\x01\x03\x30\x00", "openssl pkcs12"),
        (b"0" * 32, "no private key"),  # text: 16 bytes in hexadecimal
        (b"letters and spaces, no randomness"[:32], "no private key"),
        (bytes(32), "not random"),
        (b"00" * 32, "not random"),
        (b"\xff" * 31, "no private key"),
        (b"\xff" * 33, "no private key"),
        (b"ab" * 31, "no private key"),
        (b"AAAA" * 11, "no private key"),
        (NOTE.replace("note.example", "other.example").encode(), "its ID"),
        (NOTE.replace("+0d07505c+", "+0d07505d+").encode(), "its ID"),
        (NOTE[:-4].encode(), "damaged note key"),
        (NOTE.replace("+AT", "+CT").encode(), "neither Ed25519"),
        (f"{NOTE}\n{NOTE}\n".encode(), "2 note keys"),
        (f"{NOTE}\nx.example+00000000+AQ==\n".encode(), "more than a note key"),
        (b"PRIVATE+KEY+x", "damaged note key"),
        (b"x" * 70_000, "more than 65536"),
    ],
)
def test_what_cannot_be_imported_says_what_to_do(data: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        parse_foreign_key(data, None, "ed25519")


@pytest.mark.parametrize("name", ["openssh-ed25519-encrypted", "openssl-mldsa44-encrypted.pem"])
def test_passphrases(name: str) -> None:
    data = content(name)
    with pytest.raises(FormatError, match="no passphrase given"):
        parse_foreign_key(data, None, "ed25519")
    with pytest.raises(FormatError, match="wrong passphrase"):
        parse_foreign_key(data, b"another passphrase", "ed25519")


@pytest.mark.parametrize(
    "name", ["openssh-ed25519", "openssl-ed25519.der", "go-note-ed25519.key", "go-ed25519.bin"]
)
def test_needless_passphrases(name: str) -> None:
    with pytest.raises(FormatError, match="not encrypted"):
        parse_foreign_key(content(name), PASSPHRASE, "ed25519")


@settings(max_examples=200)
@given(
    st.binary(max_size=80)
    | mutations([content(name) for name, _ in PKCS8 + OTHERS if "encr" not in name])
)
def test_anything_gives_a_key_or_format_error(data: bytes) -> None:
    messages = []
    for run in (lambda: parse_foreign_key(data, None, "ed25519"), lambda: is_encrypted(data)):
        try:
            run()
        except FormatError as error:
            messages.append(str(error))
    assert not re.search(r"MC4CAQAw|ATS25BMt", "".join(messages))


OPENSSL = os.environ.get("MUNIMENT_TEST_OPENSSL") or shutil.which("openssl") or ""


def has_mldsa() -> bool:
    return (
        bool(OPENSSL)
        and b"ML-DSA-44"
        in subprocess.run(
            [OPENSSL, "list", "-public-key-algorithms"],
            capture_output=True,
            check=False,
            timeout=SECONDS,
        ).stdout
    )


def test_openssl_of_today(tmp_path: Path) -> None:
    """Reads what it writes by default, and what it reads is ours; 3.5 or newer."""
    if not has_mldsa():
        pytest.skip("needs OpenSSL 3.5 or newer as openssl, or named by MUNIMENT_TEST_OPENSSL")

    def openssl(*words: str | Path, data: bytes = b"") -> bytes:
        return subprocess.run(
            [OPENSSL, *words], input=data, capture_output=True, check=True, timeout=60
        ).stdout

    for algorithm in ("ML-DSA-44", "ED25519"):
        made = openssl("genpkey", "-algorithm", algorithm)
        locked = openssl("pkey", "-aes256", "-passout", f"pass:{PASSPHRASE.decode()}", data=made)
        expected = load_pem_public_key(openssl("pkey", "-pubout", data=made)).public_bytes_raw()
        for data in (made, locked):
            key = parse_key_file(data, passphrase_of(data))
            assert public_bytes(key.private) == expected
        ours = format_key_file(key.private, None, None)
        assert openssl("pkey", "-pubout", data=ours) == openssl("pkey", "-pubout", data=made)


def test_openssh_of_today(tmp_path: Path) -> None:
    tool = shutil.which("ssh-keygen")
    if tool is None:
        pytest.skip("needs ssh-keygen")
    for passphrase in ("", PASSPHRASE.decode()):
        path = tmp_path / f"key{len(passphrase)}"
        subprocess.run(
            [tool, "-q", "-t", "ed25519", "-N", passphrase, "-f", path], check=True, timeout=60
        )
        data = path.read_bytes()
        key = parse_foreign_key(data, passphrase_of(data), "ed25519")
        told = base64.b64decode(path.with_suffix(".pub").read_bytes().split()[1])[-32:]
        assert public_bytes(key.private) == told
