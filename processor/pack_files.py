"""Where pack texts come from: the package itself, and a directory of the user's own."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from processor.errors import PackError
from processor.packs import BUILTIN, Packs

if TYPE_CHECKING:
    from collections.abc import Mapping
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


class PackSource:
    """The packs of a worker: the built-in ones under the user's own, read again whenever that is asked for."""

    def __init__(self, directory: Path | None, identity_key: bytes) -> None:
        self._directory = directory
        self._identity_key = identity_key
        self._texts: Mapping[str, str] = {}
        self.changed: list[str] = []
        """Files that are new, gone or different since the load before the last."""

    def load(self) -> Packs:
        """Read all packs; where this raises, what was loaded before is still what counts.

        Raises:
            PackError: A pack breaks the rules, or cannot be read.
        """
        texts = builtin_texts()
        if self._directory is not None:
            try:
                texts |= texts_of(self._directory)
            except OSError as error:
                raise PackError([f"packs.directory: cannot read {self._directory} ({error.strerror})"]) from error
        packs = Packs.load(texts, self._identity_key)
        before, self._texts = self._texts, texts
        self.changed = sorted(file for file in {*before, *texts} if before.get(file) != texts.get(file))
        return packs
