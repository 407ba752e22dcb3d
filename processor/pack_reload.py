"""Hot reload of the carrier packs: between two transactions, all of them or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from processor.errors import PackError

if TYPE_CHECKING:
    from processor.pack_files import PackSource
    from processor.pipeline import Pipeline
    from processor.telemetry import Telemetry

_log = structlog.get_logger(__name__)


class PackReload:
    """Gives the pipeline packs read anew, once that has been asked for."""

    def __init__(self, source: PackSource, pipeline: Pipeline, telemetry: Telemetry) -> None:
        self._source = source
        self._pipeline = pipeline
        self._telemetry = telemetry
        self._asked = False
        telemetry.packs_in_force(len(pipeline.packs.carriers))

    def ask(self) -> None:
        """Have the packs read anew at the next step; safe to call from a signal handler."""
        self._asked = True

    def step(self) -> None:
        """Read the packs anew where that was asked for; packs that are refused leave the old ones as they are.

        To be called between two transactions. Events that wait in the rekeyed topic are mapped already.
        """
        if not self._asked:
            return
        self._asked = False
        try:
            packs = self._source.load()
        except PackError as error:
            self._telemetry.packs_reloaded("refused")
            _log.error("carrier packs are refused, the old ones stay", problems=error.problems)  # no bug
            return
        self._pipeline.packs = packs
        self._telemetry.packs_reloaded("loaded")
        self._telemetry.packs_in_force(len(packs.carriers))
        _log.info("carrier packs are loaded anew", carriers=len(packs.carriers), changed=self._source.changed)
