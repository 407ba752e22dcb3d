"""The images that the deployment is made of: official ones where they can be had, else their stand-ins."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from tests.deploy import engine, stand_ins
from tests.deploy.tools import COMPOSE, ROOT, dockerfile
from tests.kafka import container

WORKER = "status-processor-check"
"""Not the name that `docker compose build` gives: nobody's image is overwritten."""
_PULL_S = 180.0
_DIGEST = re.compile(r":[^:/@]+@")


@dataclass
class Images:
    """What the engine has."""

    client: Any
    names: dict[str, str] = field(default_factory=dict)
    """By role: python, kafka, prometheus, and grafana where it is there; the worker's own is built."""

    @property
    def told(self) -> str:
        """Which they are, in a line."""
        return ", ".join(f"{role} {name.partition('@')[0]}" for role, name in sorted(self.names.items()))


def pinned() -> dict[str, str]:
    """Return the official images by role, as the Dockerfile and the compose file name them."""
    arguments = " ".join(rest for word, rest in dockerfile() if word == "ARG")
    found = dict(re.findall(r"([A-Z]+)_IMAGE=(\S+)", arguments))
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    for service in services.values():
        if match := re.fullmatch(r"\$\{([A-Z]+)_IMAGE:-(\S+)\}", service["image"]):
            found[match[1]] = match[2]
    return {role.lower(): name for role, name in found.items()}


def gather(tell: Callable[[str], None]) -> Images:
    """Bring every image here, and build the worker's; the test is skipped where that cannot be."""
    client = engine.client()
    if isinstance(client, str):
        pytest.skip(client)
    images = Images(client)
    for role in ("python", "kafka", "prometheus"):
        images.names[role] = _official(client, pinned()[role], tell) or _stand_in(client, role, tell)
    if grafana := _official(client, pinned()["grafana"], tell):
        images.names["grafana"] = grafana
    tell(f"building the worker's image on {images.names['python']}")
    client.images.build(
        path=str(ROOT),
        dockerfile="deploy/Dockerfile",
        tag=WORKER,
        buildargs={"PYTHON_IMAGE": images.names["python"]},
        network_mode="host",
        rm=True,
        forcerm=True,
    )
    return images


def _official(client: Any, name: str, tell: Callable[[str], None]) -> str:
    return name if container.is_there(client, _DIGEST.sub("@", name), tell, _PULL_S) else ""


def _stand_in(client: Any, role: str, tell: Callable[[str], None]) -> str:
    lacking = stand_ins.missing()
    if lacking:
        pytest.skip(f"the image {pinned()[role].partition('@')[0]} cannot be pulled, nor built anew: {lacking}")
    return stand_ins.build(client, role, tell)
