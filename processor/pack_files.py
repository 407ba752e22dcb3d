"""Where pack texts come from: the package itself, and a directory of the user's own."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from processor.errors import PackError
from processor.packs import BUILTIN

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIX = ".toml"


def builtin_texts() -> dict[str, str]:
    """Read the packs that come with the program, by file name under `BUILTIN`."""
    folder = files("processor") / "carriers"
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(_SUFFIX)), key=lambda entry: entry.name)
    return {f"{BUILTIN}{entry.name}": entry.read_text(encoding="utf-8") for entry in found}


def texts_of(directory: Path) -> dict[str, str]:
    """Read a directory of packs, not below it, by path.

    Raises:
        OSError: The directory or one of its packs cannot be read.
        PackError: A pack is not UTF-8.
    """
    texts = {}
    for path in sorted(path for path in directory.iterdir() if path.suffix == _SUFFIX):
        try:
            texts[str(path)] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise PackError([f"{path}: not UTF-8"]) from None
    return texts
