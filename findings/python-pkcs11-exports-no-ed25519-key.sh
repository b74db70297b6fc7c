#!/usr/bin/env bash
# The public half of an Ed25519 key in a token comes out as a key of ECDSA that no reader takes.
#
# Packages: python-pkcs11 0.10.1, cryptography 50.0.2 (PyPI), SoftHSM 2 (softhsm2-util, 2.6.1 of Debian).
# Seen: a key pair made with EC_EDWARDS_KEY_PAIR_GEN signs and verifies in the token (EDDSA). The library's
#   encode_ec_public_key makes a SubjectPublicKeyInfo of it with the algorithm ecPublicKey (1.2.840.10045.2.1)
#   and the curve 1.3.101.112: cryptography says "Curve 1.3.101.112 is not supported", `openssl pkey` reads
#   nothing. Of a pair whose EC_PARAMS are the name "edwards25519", which PKCS#11 3.0 allows as well,
#   it is a ValueError. The last 32 of the 34 bytes of EC_POINT are the key: with them cryptography
#   verifies what the token signed.
# Not expected because: the library makes the key, signs with it, and converts EC keys to DER with this one
#   function; for Ed25519 RFC 8410 has an algorithm of its own, without parameters.
# For users: `openssl`, a certificate request or a verifier cannot take the key that the token signs with. Read
#   EC_POINT, cut the OCTET STRING's two bytes off where they are there (tokens differ in that),
#   and build the key from 32 bytes.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3, OpenSSL or SoftHSM.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v openssl >/dev/null || { echo "skipped: openssl is not installed"; exit 77; }
command -v softhsm2-util >/dev/null || { echo "skipped: softhsm2-util is not installed"; exit 77; }
module=$(find /usr/lib /usr/local/lib -name libsofthsm2.so 2>/dev/null | head -1)
[ -n "$module" ] || { echo "skipped: libsofthsm2.so is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check python-pkcs11==0.10.1 cryptography==50.0.2
mkdir "$folder/tokens"
printf 'directories.tokendir = %s\nobjectstore.backend = file\n' "$folder/tokens" >"$folder/softhsm.conf"
export SOFTHSM2_CONF="$folder/softhsm.conf"
softhsm2-util --init-token --free --label logs --pin 1234 --so-pin 1234 >/dev/null
"$folder/venv/bin/python" - "$module" <<'PY'
import subprocess
import sys

import pkcs11
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.util.ec import encode_ec_public_key

MESSAGE = b"what the log signs"
token = pkcs11.lib(sys.argv[1]).get_token(token_label="logs")
with token.open(rw=True, user_pin="1234") as session:
    for form, parameters in (
        ("an object identifier", bytes.fromhex("06032b6570")),
        ("the name edwards25519", b"\x13\x0cedwards25519"),
    ):
        domain = session.create_domain_parameters(
            KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: parameters}, local=True
        )
        public, private = domain.generate_keypair(mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN)
        signature = private.sign(MESSAGE, mechanism=Mechanism.EDDSA)
        point = public[Attribute.EC_POINT]
        if not public.verify(MESSAGE, signature, mechanism=Mechanism.EDDSA) or len(point) != 34:
            sys.exit("changed: the token signs otherwise")
        Ed25519PublicKey.from_public_bytes(point[-32:]).verify(signature, MESSAGE)
        print(f"EC_PARAMS are {form}: the token signs, and 32 bytes of EC_POINT verify it")
        try:
            exported = encode_ec_public_key(public)
        except ValueError as error:
            print("  encode_ec_public_key raises", type(error).__name__)
            if form == "an object identifier":
                sys.exit("changed: it is not exported")
            continue
        if form != "an object identifier" or bytes.fromhex("06072a8648ce3d0201") not in exported:
            sys.exit("changed: it is exported, or as another algorithm")
        try:
            load_der_public_key(exported)
            sys.exit("changed: cryptography reads it")
        except UnsupportedAlgorithm as error:
            print("  exported as ecPublicKey; cryptography:", error)
        command = ["openssl", "pkey", "-pubin", "-inform", "DER", "-noout", "-text"]
        read = subprocess.run(command, input=exported, capture_output=True)
        print("  openssl pkey: status", read.returncode)
        if read.returncode == 0:
            sys.exit("changed: OpenSSL reads it")
PY
