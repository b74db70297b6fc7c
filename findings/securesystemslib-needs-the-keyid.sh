#!/usr/bin/env bash
# A DSSE envelope without a key id cannot be read, and one with an empty key id is signed by nobody.
#
# Packages: securesystemslib 1.6.0, cryptography 50.0.2 (PyPI), github.com/secure-systems-lab/go-securesystemslib
#   v0.11.1 (Go module).
# Seen: one Ed25519 signature over one payload, in envelopes that differ in `keyid`. Without it securesystemslib
#   (what in-toto is built on) ends with KeyError; with "" or "release" it finds 0 of 1 signatures, though the
#   key that it was given made it; with its own digest of the key, or with the key renamed to what
#   the envelope says, the signature is good. The Go library of the same name takes the envelopes without `keyid` and
#   with "", whatever name the key has there, and refuses "release".
# Not expected because: in DSSE `keyid` is optional, an unauthenticated hint that a verifier may ignore; the protocol's
#   own example has none, and cosign and sigstore write "". securesystemslib's code says of itself that it differs.
# For users: attestations of decisions that every other tool verifies are refused in Python, and "0 of 1" reads like a
#   forgery. Set `keyid` of key and signatures alike before you verify, or sign with the digest as key id.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3 or Go.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOTOOLCHAIN=auto GOFLAGS=
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check securesystemslib==1.6.0 cryptography==50.0.2
cat >main.go <<'GO'
// Says whether each envelope of the files named is signed by the key in the file `public`.
package main

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

type key struct{ ed25519.PublicKey }

func (k key) Verify(_ context.Context, data, signature []byte) error {
	if !ed25519.Verify(k.PublicKey, data, signature) {
		return errors.New("another signature")
	}
	return nil
}
func (k key) KeyID() (string, error)   { return "any name", nil }
func (k key) Public() crypto.PublicKey { return k.PublicKey }

func read(name string) []byte {
	data, err := os.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return data
}

func main() {
	verifier, err := dsse.NewEnvelopeVerifier(key{read("public")})
	if err != nil {
		panic(err)
	}
	for _, name := range os.Args[1:] {
		var envelope dsse.Envelope
		if err := json.Unmarshal(read(name), &envelope); err != nil {
			panic(err)
		}
		_, err := verifier.Verify(context.Background(), &envelope)
		fmt.Print(err == nil, " ")
	}
	fmt.Println()
}
GO
cat >check.py <<'PY'
import base64
import json
import subprocess
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

secret = Ed25519PrivateKey.generate()
key = SSlibKey.from_crypto(secret.public_key())
digest = key.keyid
kind, payload = "application/vnd.in-toto+json", b'{"decision": true}'
signature = secret.sign(b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload))


def verify(keyid, name):
    """What securesystemslib makes of an envelope with this key id, and the key named so."""
    hint = {} if keyid is None else {"keyid": keyid}
    signed = {**hint, "sig": base64.b64encode(signature).decode()}
    envelope = {"payload": base64.b64encode(payload).decode(), "payloadType": kind, "signatures": [signed]}
    with open(f"keyid-{keyid}", "w") as file:
        json.dump(envelope, file)
    key.keyid = name
    try:
        Envelope.from_dict(envelope).verify([key], 1)
    except (KeyError, VerificationError) as error:
        return type(error).__name__
    return "good"


for keyid, name, wanted in (
    (None, digest, "KeyError"),
    ("", digest, "VerificationError"),
    ("release", digest, "VerificationError"),
    ("", "", "good"),
    ("release", "release", "good"),
    (digest, digest, "good"),
):
    seen = verify(keyid, name)
    print(f"keyid {str(keyid)[:10]!r}, key named {name[:10]!r}: {seen}")
    if seen != wanted:
        sys.exit(f"changed: expected {wanted}")
with open("public", "wb") as file:
    file.write(secret.public_key().public_bytes_raw())
seen = subprocess.check_output(["./verify", "keyid-None", "keyid-", "keyid-release"], text=True).split()
print("Go, without, with an empty and with another key id:", *seen)
if seen != ["true", "true", "false"]:
    sys.exit("changed: Go takes other envelopes")
PY
go mod init example/envelope 2>/dev/null
go get github.com/secure-systems-lab/go-securesystemslib@v0.11.1 2>/dev/null
go mod tidy 2>/dev/null
go build -o verify .
venv/bin/python check.py
