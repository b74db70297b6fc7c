#!/usr/bin/env bash
# An agent's token that names its algorithm as RFC 9864 has it is refused by two of three Python libraries.
#
# Packages: jose 6.2.17, dpop 2.1.2 (npm), PyJWT 2.15.1, joserfc 1.8.0, Authlib 1.9.6, cryptography 50.0.2 (PyPI).
# Seen: an agent's token and its DPoP proof have "alg": "Ed25519" (RFC 9864). joserfc reads both; PyJWT raises
#   InvalidAlgorithmError and authlib.jose UnsupportedAlgorithmError, though each is told to take both names.
#   The other way round works: jose reads PyJWT's "EdDSA" with the same key.
# Not expected because: it is one key, one curve and one signature, all of them know the name EdDSA, and RFC 9864
#   has deprecated that name since 2025, so that what is written to the newer text meets a refusal.
# For users: the identity of the same agent holds at one service and not at the next, and the refusal reads like a
#   forgery. Sign with "EdDSA" while a verifier may be one of these, and accept both names with keys of that
#   curve. dpop's `generateKeyPair("Ed25519")` has no other name to offer: take ES256 there.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3, or npm and Node.js 20.
set -euo pipefail
for tool in python3 npm node; do
  command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  PyJWT==2.15.1 joserfc==1.8.0 Authlib==1.9.6 cryptography==50.0.2
npm install --prefix "$folder" --silent --no-audit --no-fund jose@6.2.17 dpop@2.1.2 >/dev/null
cat >"$folder/jwt.mjs" <<'JS'
import { exportJWK, generateKeyPair, importJWK, jwtVerify, SignJWT } from "jose";
import * as DPoP from "dpop";
import { readFileSync, writeFileSync } from "node:fs";

// `jwt.mjs write FILE` signs; `jwt.mjs read FILE` verifies what Python signed.
const [what, file] = process.argv.slice(2);
if (what === "write") {
  const { privateKey, publicKey } = await generateKeyPair("Ed25519", { extractable: true });
  const token = await new SignJWT({ sub: "ada", act: { sub: "planner" } })
    .setProtectedHeader({ alg: "Ed25519" })
    .sign(privateKey);
  const pair = await DPoP.generateKeyPair("Ed25519", { extractable: true });
  const proof = await DPoP.generateProof(pair, "https://tools.example/call", "POST");
  const [key, proofKey] = [await exportJWK(publicKey), await exportJWK(pair.publicKey)];
  writeFileSync(file, JSON.stringify({ tokens: [[token, key], [proof, proofKey]], private: await exportJWK(privateKey) }));
} else {
  const { token, key } = JSON.parse(readFileSync(file));
  const { protectedHeader } = await jwtVerify(token, await importJWK(key, "EdDSA"));
  console.log(`jose reads what PyJWT signs as ${protectedHeader.alg}`);
}
JS
cat >"$folder/read.py" <<'PY'
import json
import pathlib
import sys

import jwt
from authlib.jose import JsonWebKey, JsonWebToken
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt

NAMES = ["Ed25519", "EdDSA"]
READERS = {
    "PyJWT": lambda token, key: jwt.decode(token, jwt.PyJWK(key), NAMES, {"verify_iat": False}),
    "joserfc": lambda token, key: joserfc_jwt.decode(token, joserfc_jwk.OKPKey.import_key(key), NAMES).claims,
    "authlib.jose": lambda token, key: JsonWebToken(NAMES).decode(token, JsonWebKey.import_key(key)),
}
EXPECTED = {"PyJWT": "InvalidAlgorithmError", "joserfc": "read", "authlib.jose": "UnsupportedAlgorithmError"}
folder = pathlib.Path(sys.argv[1])
made = json.loads((folder / "made.json").read_text())
for what, (token, key) in zip(("a token", "a DPoP proof"), made["tokens"], strict=True):
    print(what, "has", jwt.get_unverified_header(token)["alg"])
    for name, read in READERS.items():
        try:
            read(token, key)
            outcome = "read"
        except Exception as error:
            outcome = type(error).__name__
            print(f"  {name}: {outcome}, {error}")
        else:
            print(f"  {name} reads it")
        if outcome != EXPECTED[name]:
            sys.exit(f"changed: {name} gives {outcome}")
private = {name: made["private"][name] for name in ("kty", "crv", "x", "d")}
token = jwt.encode({"sub": "ada"}, jwt.PyJWK(private, "EdDSA").key, "EdDSA")
key = {name: private[name] for name in ("kty", "crv", "x")}
(folder / "python.json").write_text(json.dumps({"token": token, "key": key}))
PY
node "$folder/jwt.mjs" write "$folder/made.json"
"$folder/venv/bin/python" "$folder/read.py" "$folder" 2>"$folder/errors" || {
  status=$?; tail -n 3 "$folder/errors"; exit "$status"; }
node "$folder/jwt.mjs" read "$folder/python.json" || { echo "changed: jose refuses EdDSA"; exit 1; }
