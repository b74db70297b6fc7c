#!/usr/bin/env bash
# Private keys as BouncyCastle writes them by default cannot be read by Python's cryptography.
#
# Packages: org.bouncycastle:bcprov-jdk18on 1.87 (Maven), cryptography 50.0.2 (PyPI).
# Seen: BouncyCastle's PKCS#8 of a new Ed25519 key is version 2 with the public key beside the seed, and
#   that of a new ML-DSA-44 key holds seed and expanded key ("both" of RFC 9881). For both
#   load_der_private_key raises ValueError. The other way round works: BouncyCastle reads the keys that
#   cryptography writes (version 1; the seed alone).
# Not expected because: both forms are standard (RFC 5958, RFC 9881), both sides name them PKCS#8, and
#   the seed that cryptography asks for is in both, in the first bytes.
# For users: a log or witness key made by a Java service does not load in a Python one, and the message
#   sounds like a damaged key. The seed is enough: write the first 32 bytes of the private key anew in
#   the short form before giving the key away, and check the public key afterwards.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3, Maven or Java 17.
set -euo pipefail
for tool in python3 mvn java; do
  command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check cryptography==50.0.2
mvn -q -B dependency:copy -Dartifact=org.bouncycastle:bcprov-jdk18on:1.87 -DoutputDirectory="$folder"
cat >"$folder/Keys.java" <<'JAVA'
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyPairGenerator;
import java.security.Security;
import java.security.spec.PKCS8EncodedKeySpec;
import org.bouncycastle.jce.provider.BouncyCastleProvider;

/** `Keys write FOLDER` makes a key of each kind; `Keys read FOLDER` reads those of the other library. */
public class Keys {
  public static void main(String[] arguments) throws Exception {
    Security.addProvider(new BouncyCastleProvider());
    for (String kind : new String[] {"Ed25519", "ML-DSA-44"}) {
      if (arguments[0].equals("write")) {
        byte[] key = KeyPairGenerator.getInstance(kind, "BC").generateKeyPair().getPrivate().getEncoded();
        Files.write(Path.of(arguments[1], kind + ".java"), key);
      } else {
        byte[] key = Files.readAllBytes(Path.of(arguments[1], kind + ".python"));
        KeyFactory.getInstance(kind, "BC").generatePrivate(new PKCS8EncodedKeySpec(key));
        System.out.println("BouncyCastle reads cryptography's " + kind + " key");
      }
    }
  }
}
JAVA
run() { java -cp "$folder/bcprov-jdk18on-1.87.jar" "$folder/Keys.java" "$1" "$folder"; }
run write
"$folder/venv/bin/python" - "$folder" <<'PY'
import pathlib
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

folder = pathlib.Path(sys.argv[1])
form = (Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
for kind, made in (("Ed25519", Ed25519PrivateKey), ("ML-DSA-44", MLDSA44PrivateKey)):
    (folder / f"{kind}.python").write_bytes(made.generate().private_bytes(*form))
    key = (folder / f"{kind}.java").read_bytes()
    try:
        load_der_private_key(key, None)
        sys.exit(f"changed: cryptography reads BouncyCastle's {kind} key")
    except ValueError as error:
        print(f"cryptography on BouncyCastle's {kind} key of {len(key)} bytes: ValueError, {str(error)[:60]}")
PY
run read || { echo "changed: BouncyCastle refuses cryptography's keys"; exit 1; }
