"""A gate on stdio whose own streams are files says what they have to be."""

import sys
from pathlib import Path
from typing import Any, cast

import pytest

from muniment.errors import MunimentError
from muniment_gateway.mcp.stdio import serve_stdio


async def test_a_file_for_stdin_is_refused_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked.json"
    asked.write_text("{}\n")
    nothing = cast(Any, None)  # nothing is asked of the gate
    with asked.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(MunimentError, match=r"got a file; by hand, `cat FILE \|`"):
            await serve_stdio(nothing, nothing, nothing, ["cat"])
