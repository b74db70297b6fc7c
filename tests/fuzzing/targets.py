"""All fuzz targets. Importing this module registers them."""

from fuzzing import files, notes, proxied, records, web, wire
from fuzzing.law import TARGETS

__all__ = ["TARGETS", "files", "notes", "proxied", "records", "web", "wire"]
