"""Says whether the C extension is there, and lets PURE_PYTHON=1 leave it out.

The pure code is the reference: it runs wherever there is no compiler, and tests hold both to the same output.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import ModuleType


def _load() -> ModuleType | None:
    if os.environ.get("PURE_PYTHON"):
        return None
    try:
        from processor import _speedups  # noqa: PLC0415  # there or not
    except ImportError:
        return None
    return _speedups


SPEEDUPS: Final[ModuleType | None] = _load()
"""The module `_speedups`, None where the pure code runs."""
