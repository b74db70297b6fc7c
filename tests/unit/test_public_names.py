"""The names of `import muniment`: one list, and none costs anything before it is used."""

import subprocess
import sys

import pytest

import muniment


def test_every_public_name_can_be_imported() -> None:
    names = list(muniment.__all__)  # type: ignore[attr-defined]  # made at run time from the stub
    assert {"Gateway", "LogClient", "Policy", "audit_log", "blocking", "governed"} <= set(names)
    for name in names:
        assert getattr(muniment, name) is not None, name
    assert set(names) <= set(dir(muniment))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'muniment' has no attribute 'Gatway'"):
        muniment.Gatway  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_imports_none_of_its_modules() -> None:
    code = "import muniment, sys; print([m for m in sys.modules if m.startswith('muniment.')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_command_says_its_version_without_a_library_that_it_does_not_need() -> None:
    code = (
        "import sys; from muniment.cli import cli; cli(['--version'], standalone_mode=False);"
        "print(sorted({'aiohttp', 'cryptography', 'hashlib', 'msgspec', 'nacl', 'sqlite3'}"
        " & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_a_public_name_is_found_after_any_module_was_imported() -> None:
    program = "import muniment.map.mapfile, muniment; print(muniment.Gateway.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"Gateway\n"
