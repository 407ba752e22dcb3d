"""A real Chromium, driven from outside, that tells everything it asks for and every error that it meets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from typing import Any

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # By itself it looks for updates and for its maker's hosts.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def missing() -> str:
    """Return what this machine lacks for it, with what to do; empty where it lacks nothing."""
    if not CHROMIUM.exists():
        return f"no {CHROMIUM}: install Chromium (Debian: apt-get install chromium), or say in CHROMIUM where it is"
    if util.find_spec("playwright") is None:
        return "no playwright: run `make check-deploy`, or install requirements-deploy.lock"
    return ""


@dataclass
class Visit:
    """One page, and what became of it."""

    page: Any
    """A page of playwright's."""
    complaints: list[str] = field(default_factory=list)
    """Lines of its console, and errors of its script."""
    asked: set[str] = field(default_factory=set)
    """Every address that it asked for anything."""


@contextmanager
def chromium() -> Iterator[Any]:
    """Run a browser without a window for as long as the block lasts."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  # not every machine has it

    # Its sandbox does not work for root.
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else list(FLAGS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser: Any, url: str, *, width: int, height: int, scheme: str) -> Iterator[Visit]:
    """Look at a page in a window of a size, with a preference of light or dark."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    try:
        visited = Visit(context.new_page())
        visited.page.on("console", lambda line: visited.complaints.append(f"{line.type}: {line.text}"))
        visited.page.on("pageerror", lambda error: visited.complaints.append(str(error)))
        visited.page.on("request", lambda request: visited.asked.add(request.url))
        visited.page.goto(url)
        yield visited
    finally:
        context.close()
