"""Options that commands share."""

from pathlib import Path
from typing import Final

import click

PATH: Final = click.Path(path_type=Path)
CONFIG: Final = click.option(
    "--config", required=True, type=PATH, help="The configuration file, log.toml."
)
