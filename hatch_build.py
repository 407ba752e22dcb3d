"""Builds the optional C extension; where there is no compiler, the pure code does the same, slower."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

EXTENSION = "processor._speedups"


class SpeedupsHook(BuildHookInterface[Any]):
    """Compiles `processor/_speedups.pyx` in place; PURE_PYTHON=1 leaves it out."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build before the files are gathered."""
        if self.target_name != "wheel" or os.environ.get("PURE_PYTHON"):
            return
        try:
            built = _build(Path(self.root))
        except Exception as error:  # noqa: BLE001  # no compiler, no headers, …: each means a pure wheel
            self.app.display_warning(f"no C extension, the pure code will do: {type(error).__name__}: {error}")
            return
        if version != "editable":
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["artifacts"].append(f"/{built.relative_to(self.root)}")


def _build(root: Path) -> Path:
    """Compile the extension next to its source and return its path."""
    from Cython.Build import cythonize  # noqa: PLC0415  # only here: a pure build needs neither
    from setuptools import Distribution, Extension  # noqa: PLC0415
    from setuptools.command.build_ext import build_ext  # noqa: PLC0415

    before = Path.cwd()
    os.chdir(root)
    try:
        extensions = cythonize(
            [Extension(EXTENSION, ["processor/_speedups.pyx"], extra_compile_args=["-O3"])],
            build_dir="build/cython",
            quiet=True,
        )
        command = build_ext(Distribution({"name": "message-status-processor", "ext_modules": extensions}))
        command.inplace = True
        command.build_temp = "build/cython"
        command.ensure_finalized()
        command.run()
        return root / command.get_ext_filename(EXTENSION)
    finally:
        os.chdir(before)


if __name__ == "__main__":
    sys.exit(0 if _build(Path(__file__).parent).exists() else 1)
