"""Build the wheel, install it with its pinned dependencies into a clean environment, and use it.

It does what deploy/Containerfile says, in a temporary folder instead of an image: that file is the
one recipe. Shows that what a user installs works without this checkout: every entry point answers,
every module imports, the package is typed, and a key made by one command is read by another.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "deploy" / "Containerfile"
EXTRA = (  # what needs an extra to be imported: `bastion`, `explore`, `cluster`
    "muniment_service/http2.py",
    "muniment/explore/",
    "muniment_log/cluster/",
    "muniment_log/app/addendakeeping.py",
    "muniment_log/app/cluster.py",
    "muniment_log/app/leadership.py",
    "muniment_log/index/bucket.py",
)
ABSOLUTE = re.compile(r"(?<![\w.])/(opt/muniment|build|wheel)\b")
TIMEOUT = 300  # seconds, for each step


def run(*argv: str | Path, cwd: Path) -> str:
    """Run one command away from the checkout, with nothing of this environment leaking in."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(a) for a in argv],
        check=False,
        cwd=cwd,
        env=clean,
        timeout=TIMEOUT,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def build_stage() -> list[tuple[str, str]]:
    """Instruction and argument of each step up to the second FROM, continued lines joined."""
    text = RECIPE.read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    steps = [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]
    first, last = (n for n, (word, _) in enumerate(steps) if word == "FROM")
    return steps[first + 1 : last]


def follow(place: Path) -> None:
    """Run the steps below `place` as an engine runs them below /."""
    source = place / "src"
    source.mkdir()
    for word, rest in build_stage():
        if word == "COPY":
            *names, into = shlex.split(rest)
            for name in names:
                target = source / into / name if into == "./" else source / into
                if (ROOT / name).is_dir():
                    ignore = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(ROOT / name, target, ignore=ignore)
                else:
                    shutil.copy(ROOT / name, target)
        elif word == "RUN":
            command = ABSOLUTE.sub(lambda path: f"{place}/{path[1]}", rest)
            run("sh", "-ec", command.replace("python3 ", f"{sys.executable} "), cwd=source)
        elif word == "ARG":
            name, _, default = rest.partition("=")
            os.environ.setdefault(name, default)
        elif word not in {"ENV", "WORKDIR"}:
            sys.exit(f"{RECIPE.name}: {word} is not known here")


def main() -> None:
    """Build, install, use."""
    with tempfile.TemporaryDirectory(prefix="muniment-smoke-") as folder:
        place = Path(folder)
        follow(place)
        (wheel,) = (place / "wheel").glob("*.whl")
        names = zipfile.ZipFile(wheel).namelist()
        tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
        roles = {"muniment_gateway", "muniment_log", "muniment_witness"}
        if tops != {"muniment", "muniment_service", *roles}:
            sys.exit(f"the wheel ships {sorted(tops)}")
        for package in sorted(tops):
            if f"{package}/py.typed" not in names:
                sys.exit(f"the wheel lacks {package}/py.typed")
        bin_ = place / "opt" / "muniment" / "bin"
        modules = sorted(
            name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for name in names
            if name.endswith(".py") and not name.startswith(EXTRA)
        )
        run(bin_ / "python", "-W", "error", "-c", f"import {', '.join(modules)}", cwd=place)
        for command in ("muniment", "muniment-log", "muniment-witness", "muniment-gateway"):
            run(bin_ / command, "--help", cwd=place)
        key = place / "gateway.pem"
        keygen = [bin_ / "muniment", "keygen", "--name", "gw.example/smoke", "--use", "gateway"]
        vkey = run(*keygen, "--algorithm", "ed25519", "--out", key, cwd=place).strip()
        if not vkey.startswith("gw.example/smoke+"):
            sys.exit(f"keygen printed {vkey!r}")
        run(
            bin_ / "muniment-log", "init", place / "log", "--origin", "log.example/smoke", cwd=place
        )
        run(bin_ / "muniment-witness", "init", place / "w", "--name", "w.example/w1", cwd=place)
        run(bin_ / "muniment-gateway", "init", place / "gateway", cwd=place)
        print(f"{wheel.name}: {len(modules)} modules import, 4 commands work", file=sys.stderr)


if __name__ == "__main__":
    main()
