#!/usr/bin/env bash
# Two libraries for HTTP message signatures sign ordinary requests so that the other one refuses them.
#
# Packages: http-message-signatures 3.0.0 (PyPI), http-message-signatures 1.0.6 (npm).
# Seen: with an Ed25519 key each verifies what the other has signed of most requests. In both directions they do
#   not, though no byte of the request has changed, where `@query-param` covers a value with one of ! ' ( ) ~, where
#   `@query` covers one with an apostrophe, where `@target-uri` covers an origin without a slash, and where a member of
#   a dictionary field is the decimal 1.0. The library for Node.js verifies all of these of its own.
#   It answers false, Python's raises InvalidSignature, and neither says which component differs.
# Not expected because: RFC 9421 exists so that a signature holds across libraries, says which characters of a
#   parameter are escaped (all of these are), and both name it as what they implement.
# For users: an agent whose requests are signed is refused the day somebody searches for O'Brien, and it looks like
#   a forgery. Cover `@query` rather than `@query-param` (which fails on %27 as well), and write the apostrophe as
#   %27, and the slash of an origin, before the address is signed and sent.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3 or Node.js.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v npm >/dev/null || { echo "skipped: Node.js is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check http-message-signatures==3.0.0
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund http-message-signatures@1.0.6
cat >node.cjs <<'JS'
// Signs or verifies each of the requests on standard input.
const crypto = require('node:crypto');
const { httpbis, createSigner, createVerifier } = require('http-message-signatures');

async function answer({ does, request, fields, secret, key }) {
  if (does === 'sign') {
    const signer = createSigner(crypto.createPrivateKey(secret), 'ed25519', 'key');
    return (await httpbis.signMessage({ key: signer, fields }, request)).headers;
  }
  const verify = createVerifier(crypto.createPublicKey(key), 'ed25519');
  return httpbis.verifyMessage({ keyLookup: async () => ({ id: 'key', algs: ['ed25519'], verify }) }, request);
}

let text = '';
process.stdin.on('data', (more) => (text += more));
process.stdin.on('end', async () => console.log(JSON.stringify(await Promise.all(JSON.parse(text).map(answer)))));
JS
venv/bin/python - <<'PY'
import json
import subprocess
import sys
from types import SimpleNamespace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from http_message_signatures import (
    HTTPMessageSigner, HTTPMessageVerifier, InvalidSignature, MappingKeyResolver, algorithms,
)

SITE = "https://tools.example"
QUERY, VALUE = ["@query"], ['"@query-param";name="q"']
CASES = (  # the address, a header, what is signed, whether each takes the other's signature
    (f"{SITE}/find?q=O%27Brien", {}, QUERY, True),
    (f"{SITE}/find?q=O'Brien", {}, QUERY, False),
    (f"{SITE}/find?q=O'Brien", {}, ["@target-uri"], True),
    (f"{SITE}/find?q=O%27Brien", {}, VALUE, False),
    (f"{SITE}/find?q=Ann+O*Neill", {}, VALUE, True),
    *((f"{SITE}/find?q=a{mark}b", {}, VALUE, False) for mark in "!'()~"),
    (f"{SITE}/", {}, ["@target-uri"], True),
    (SITE, {}, ["@target-uri"], False),
    (f"{SITE}/", {"Weight": "a=1"}, ['"weight";key="a"'], True),
    (f"{SITE}/", {"Weight": "a=1.0"}, ['"weight";key="a"'], False),
)

private = Ed25519PrivateKey.generate()
secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
key = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
keys = MappingKeyResolver(public_keys={"key": key}, private_keys={"key": secret})
signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=keys)
verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=keys)


def in_node(does, requests):
    pem = {"secret": secret.decode(), "key": key.decode()}
    asked = [{"does": does, "request": one, "fields": fields, **pem} for one, (*_, fields, _) in zip(requests, CASES)]
    ran = subprocess.run(["node", "node.cjs"], input=json.dumps(asked), capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


def verified_here(request, headers):
    try:
        verifier.verify(SimpleNamespace(**{**request, "headers": headers}))
    except InvalidSignature:
        return False
    return True


plain = [{"method": "GET", "url": url, "headers": headers} for url, headers, *_ in CASES]
here = [SimpleNamespace(**{**request, "headers": dict(request["headers"])}) for request in plain]
for message, (*_, fields, _) in zip(here, CASES):
    signer.sign(message, key_id="key", covered_component_ids=fields)
there = in_node("sign", plain)
of_python = in_node("verify", [vars(message) for message in here])
of_node_itself = in_node("verify", [{**request, "headers": headers} for request, headers in zip(plain, there)])
for request, headers, in_js, own, case in zip(plain, there, of_python, of_node_itself, CASES):
    (url, header, fields, expected), in_python = case, verified_here(request, headers)
    print(f"{url} {header or ''} {fields[0]}: Python's in Node.js {in_js}, Node.js's in Python {in_python}")
    if (in_js, in_python, own) != (expected, expected, True):
        sys.exit(f"changed: expected {expected} in both")
PY
