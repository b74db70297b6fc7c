"""Key files: other tools read them, we read other tools', and errors tell nothing of the key."""

import base64
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from muniment.tlog.encoding import FormatError
from muniment.tlog.keys.keyfile import (
    MAX_KEY_FILE_SIZE,
    KeyFile,
    format_key_file,
    generate,
    parse_key_file,
    public_bytes,
)
from muniment.tlog.note import COSIGNATURE_ED25519, COSIGNATURE_MLDSA44, ED25519, VKey
from signing import ed25519, mldsa44, mutations
from waiting import SECONDS

SECRET = b"correct horse battery staple"
RAW = (Encoding.Raw, PrivateFormat.Raw, NoEncryption())
# RFC 8410 sections 10.3 and 10.1
RFC8410 = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
"""
RFC8410_PUBLIC = "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="


def vkey(private, *, algorithm=None, name="name.example/key"):
    default = COSIGNATURE_MLDSA44 if len(public_bytes(private)) == 1312 else ED25519
    return VKey.of(name, algorithm or default, public_bytes(private))


def raw(private):
    return private.private_bytes(*RAW)


KEYS = [ed25519("key"), mldsa44("key")]
each_key = pytest.mark.parametrize("private", KEYS, ids=["ed25519", "mldsa44"])


@pytest.mark.parametrize(("algorithm", "size"), [("ed25519", 32), ("mldsa44", 1312)])
def test_generate(algorithm, size):
    one, two = generate(algorithm), generate(algorithm)
    assert len(public_bytes(one)) == size
    assert public_bytes(one) != public_bytes(two)


def test_generate_unknown():
    with pytest.raises(ValueError, match="rsa"):
        generate("rsa")


@each_key
@pytest.mark.parametrize("passphrase", [None, SECRET])
@pytest.mark.parametrize("named", [True, False])
def test_round_trip(private, passphrase, named):
    key = vkey(private) if named else None
    data = format_key_file(private, key, passphrase)
    assert (b"ENCRYPTED" in data) == (passphrase is not None)
    back = parse_key_file(data, passphrase)
    assert raw(back.private) == raw(private)
    assert back.vkey == key


@each_key
@pytest.mark.parametrize("passphrase", [None, SECRET])
def test_other_pkcs8_readers_take_the_file(private, passphrase):
    """RFC 7468 section 2: text before the block is ignored."""
    data = format_key_file(private, vkey(private, name="nä.example"), passphrase)
    assert data.startswith("vkey nä.example+".encode())
    assert raw(load_pem_private_key(data, passphrase)) == raw(private)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_takes_the_file():
    private = ed25519("key")
    data = format_key_file(private, vkey(private), None)
    done = subprocess.run(
        ["openssl", "pkey", "-pubout", "-outform", "DER"],
        input=data,
        capture_output=True,
        check=True,
        timeout=SECONDS,
    )
    assert done.stdout.endswith(public_bytes(private))


def test_rfc8410_example():
    key = parse_key_file(RFC8410, None)
    assert base64.b64encode(public_bytes(key.private)).decode() == RFC8410_PUBLIC
    assert key.vkey is None


@pytest.mark.parametrize("algorithm", [ED25519, COSIGNATURE_ED25519])
def test_ed25519_serves_two_signature_types(algorithm):
    private = ed25519("key")
    data = format_key_file(private, vkey(private, algorithm=algorithm), None)
    assert parse_key_file(data, None).vkey.algorithm == algorithm


@each_key
def test_vkey_of_another_key_is_refused(private):
    for other in (ed25519("other"), mldsa44("other")):
        with pytest.raises(FormatError, match="vkey is not that of"):
            format_key_file(private, vkey(other), None)
        with pytest.raises(FormatError, match="vkey is not that of"):
            KeyFile(private, vkey(other))
        data = f"vkey {vkey(other)}\n".encode() + format_key_file(private, None, None)
        with pytest.raises(FormatError, match="vkey is not that of"):
            parse_key_file(data, None)


def test_comments_and_line_ends_of_other_writers():
    private = ed25519("key")
    plain = format_key_file(private, None, None)
    text = f"# made in Köln\r\nvkey {vkey(private)}\r\n\r\nvkeys are public\n".encode()
    key = parse_key_file(text + plain.replace(b"\n", b"\r\n"), None)
    assert key.vkey == vkey(private)


def pem(private):
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


PLAIN = format_key_file(ed25519("key"), vkey(ed25519("key")), None)
LOCKED = format_key_file(ed25519("key"), vkey(ed25519("key")), SECRET)


@pytest.mark.parametrize(
    ("data", "passphrase", "match"),
    [
        (LOCKED, None, "no passphrase given"),
        (LOCKED, b"", "no passphrase given"),
        (LOCKED, b"wrong", "wrong passphrase"),
        (PLAIN, SECRET, "not encrypted"),
        (b"", None, "0 PEM blocks"),
        (b"vkey x\n", None, "0 PEM blocks"),
        (PLAIN + PLAIN, None, "2 private keys"),
        (b"x" * (MAX_KEY_FILE_SIZE + 1), None, "more than 65536 bytes"),
        (PLAIN.partition(b"\n")[0] + b"\n" + PLAIN, None, "more than one vkey"),
        (b"vkey nonsense\n" + PLAIN.partition(b"\n")[2], None, "vkey"),
        (PLAIN[:-30], None, "damaged"),
        (pem(ed448.Ed448PrivateKey.generate()), None, "neither an Ed25519"),
        (pem(MLDSA65PrivateKey.generate()), None, "neither an Ed25519"),
        (pem(ec.generate_private_key(ec.SECP256R1())), None, "neither an Ed25519"),
        (pem(rsa.generate_private_key(65537, 2048)), None, "neither an Ed25519"),
        (
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
            ),
            None,
            "not a PKCS#8 private key",
        ),
        (
            ed25519("key")
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            None,
            "not a PKCS#8 private key",
        ),
    ],
)
def test_refused(data, passphrase, match):
    with pytest.raises(FormatError, match=match) as caught:
        parse_key_file(data, passphrase)
    assert caught.value.__cause__ is None


def test_empty_passphrase_does_not_encrypt():
    with pytest.raises(ValueError):  # noqa: PT011 - the library's wording
        format_key_file(ed25519("key"), None, b"")


def leaks(text: str, private) -> bool:
    secret = private.private_bytes_raw()
    forms = (
        secret.hex(),
        base64.b64encode(secret).decode(),
        str(secret),
        pem(private).decode().split("\n")[1],
    )
    return any(form[i : i + 12] in text for form in forms for i in range(len(form) - 12))


@each_key
def test_repr_tells_nothing_of_the_key(private):
    assert not leaks(repr(KeyFile(private, vkey(private))), private)


@settings(max_examples=150)
@given(st.binary(max_size=100) | mutations([PLAIN, PLAIN[:60] + PLAIN, RFC8410]))
def test_parse_gives_a_key_that_comes_back_or_format_error(data):
    message = ""
    try:
        key = parse_key_file(data, None)
    except FormatError as error:
        message = str(error)
    if message:
        assert not leaks(message, ed25519("key"))
        return
    again = parse_key_file(format_key_file(key.private, key.vkey, None), None)
    assert (raw(again.private), again.vkey) == (raw(key.private), key.vkey)


@settings(max_examples=100)
@given(st.binary(min_size=1, max_size=20))
def test_wrong_passphrases(passphrase):
    assume(passphrase != SECRET)
    with pytest.raises(FormatError) as caught:
        parse_key_file(LOCKED, passphrase)
    assert not leaks(str(caught.value), ed25519("key"))
