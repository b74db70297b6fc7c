#!/usr/bin/env bash
# Whether rfc3161-client reads a timestamp of OpenSSL hangs on which of two certificates is longer.
#
# Packages: rfc3161-client 1.0.9, cryptography 50.0.2 (PyPI), OpenSSL 3 (3.0 of Debian 12).
# Seen: `openssl ts -reply` answers a query that asks for certificates with the signer's and that of the CA
#   between it and the root. Where the signer's certificate is the longer one, decode_timestamp_response
#   raises ValueError (InvalidSetOrdering in SignedData::certificates); where the CA's is, it reads the
#   response and verifies it. `openssl ts -verify` verifies both. OpenSSL writes the signer's first, then
#   the others, and rfc3161-client wants the order that DER gives a SET, shorter encodings first.
# Not expected because: the order of certificates says nothing, and OpenSSL's are the responses that most small
#   authorities give. By the letter the reader is right, as RFC 3161 has responses in DER over HTTP; but then
#   every other response of OpenSSL with a chain is one too many, and the rest are right by luck.
# For users: a time stamp authority works until its certificate is renewed with a longer name or URL, and a
#   time stamp that was kept for years cannot be read by the next tool. Ask for no certificates
#   (cert_request(cert_request=False)), keep the chain beside the response, and give it to the verifier.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3 or OpenSSL 3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
[[ "$(openssl version 2>/dev/null)" == "OpenSSL 3"* ]] || { echo "skipped: OpenSSL 3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check rfc3161-client==1.0.9 cryptography==50.0.2
cd "$folder"

# certificate NAME ISSUER EXTENSIONS: a key and a certificate that ISSUER signed; a comment makes one longer.
certificate() {
  openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1" 2>/dev/null
  printf '%b' "$3" >"$1.ext"
  if [ "$1" = "$longer" ]; then echo "nsComment=This makes a certificate the longer one of two." >>"$1.ext"; fi
  openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days 2 -extfile "$1.ext" \
    -out "$1.pem" 2>/dev/null
}

openssl req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -subj "/CN=root" -days 2 \
  -addext keyUsage=critical,keyCertSign 2>/dev/null
echo "what is to be stamped" >data
for longer in ca signer; do
  certificate ca root "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n"
  certificate signer ca "extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n"
  echo 01 >serial
  cat >tsa.cnf <<CNF
[tsa]
serial = $folder/serial
crypto_device = builtin
signer_cert = $folder/signer.pem
signer_key = $folder/signer.key
certs = $folder/ca.pem
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
ess_cert_id_alg = sha256
CNF
  openssl ts -query -data data -sha256 -cert -out query 2>/dev/null
  openssl ts -reply -config tsa.cnf -section tsa -queryfile query -out response 2>/dev/null
  openssl ts -verify -data data -in response -CAfile root.pem 2>/dev/null >verified
  echo "the $longer's certificate is longer: openssl ts -verify: $(cat verified)"
  "$folder/venv/bin/python" - "$longer" <<'PY'
import sys
from pathlib import Path

from cryptography import x509
from rfc3161_client import VerifierBuilder, decode_timestamp_response

root, ca = (x509.load_pem_x509_certificate(Path(name).read_bytes()) for name in ("root.pem", "ca.pem"))
try:
    response = decode_timestamp_response(Path("response").read_bytes())
except ValueError as error:
    seen = str(error)
else:
    verifier = VerifierBuilder().add_root_certificate(root).add_intermediate_certificate(ca).build()
    seen = f"verified: {verifier.verify_message(response, Path('data').read_bytes())}"
print("  rfc3161-client:", seen)
if not ("InvalidSetOrdering" in seen if sys.argv[1] == "signer" else seen == "verified: True"):
    sys.exit("changed: the order of certificates matters less, or they come in another one")
PY
done
