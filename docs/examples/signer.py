"""Signs what comes on stdin with the Ed25519 key of a PEM file: what `exec:` in a reference runs.

    signer = 'exec:python3 /opt/signer.py /etc/muniment/key.pem'

With `--public` before the file it prints the public half, for `muniment keygen --public`. A program
for a key service looks alike: it sends the message (the message itself, no digest of it) and writes
the 64 bytes that come back. It is run once for each signature.
"""

import sys
from base64 import b64encode
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key


def main() -> None:
    key = load_pem_private_key(Path(sys.argv[-1]).read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        sys.exit("not an Ed25519 key")
    if "--public" in sys.argv:
        print(b64encode(key.public_key().public_bytes_raw()).decode())
        return
    sys.stdout.buffer.write(key.sign(sys.stdin.buffer.read()))


if __name__ == "__main__":
    main()
