"""The programs that judge a deployment's files: which of them this machine has, and how they are asked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = ROOT / "docker-compose.yml"
WITH = "with"
"""Name of the property by which a test tells what it was run with."""
KUSTOMIZE = "v5.8.1"
KUSTOMIZE_MAJOR = 5
_BUILD_S = 300
_RUN_S = 60


def run(command: Sequence[str], *, text: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a program and return what it printed; where it fails, the test does, with all that it said."""
    done = subprocess.run(
        command, input=text, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=_BUILD_S, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Tool:
    """A program, and what it is."""

    command: tuple[str, ...]
    name: str


@cache
def kustomize() -> Tool | str:
    """Find what renders the manifests, or return why there is nothing."""
    if shutil.which("kustomize"):
        return Tool(("kustomize", "build"), f"kustomize {run(['kustomize', 'version']).strip()}")
    if shutil.which("kubectl"):
        told = json.loads(run(["kubectl", "version", "--client", "--output", "json"]))
        version = str(told.get("kustomizeVersion", "v0"))
        if int(re.findall(r"\d+", version)[0]) >= KUSTOMIZE_MAJOR:
            return Tool(("kubectl", "kustomize"), f"kubectl {told['clientVersion']['gitVersion']}, kustomize {version}")
    return _built_kustomize()


def _built_kustomize() -> Tool | str:
    if not shutil.which("go"):
        return f"no kustomize, no kubectl with kustomize {KUSTOMIZE_MAJOR}, no go to build it: install one of them"
    folder = ROOT / ".cache" / f"kustomize-{KUSTOMIZE}"
    program = folder / "kustomize"
    if not program.exists():
        package = f"sigs.k8s.io/kustomize/kustomize/v5@{KUSTOMIZE}"
        run(["go", "install", package], environment={**os.environ, "GOBIN": str(folder)})
    return Tool((str(program), "build"), f"kustomize {KUSTOMIZE}, built by go")


@cache
def rendered(directory: Path) -> tuple[Mapping[str, Any], ...]:
    """Render a kustomization; without a tool for that the test is skipped."""
    tool = kustomize()
    if isinstance(tool, str):
        pytest.skip(tool)
    return tuple(yaml.safe_load_all(run([*tool.command, str(directory)])))


@cache
def compose() -> Tool | str:
    """Find what reads the compose file, or return why there is nothing."""
    if shutil.which("docker"):
        done = subprocess.run(
            ["docker", "compose", "version", "--short"], capture_output=True, text=True, timeout=_RUN_S, check=False
        )
        if done.returncode == 0:
            return Tool(("docker", "compose"), f"docker compose {done.stdout.strip()}")
    if shutil.which("docker-compose"):
        version = run(["docker-compose", "version", "--short"]).strip()
        return Tool(("docker-compose",), f"docker-compose {version}")
    return "neither docker compose nor docker-compose: install it (Debian: apt-get install docker-compose)"


def needed_compose() -> Tool:
    """Return what reads the compose file; without it the test is skipped."""
    tool = compose()
    if isinstance(tool, str):
        pytest.skip(tool)
    return tool


def compose_text() -> tuple[str, str]:
    """Return the compose file as the tool takes it, and what had to be changed: the first version knows no `name`."""
    text = COMPOSE.read_text()
    if needed_compose().command == ("docker-compose",) and needed_compose().name.split()[1].startswith("1."):
        return re.sub(r"^name: .*\n", "", text, flags=re.MULTILINE), " (without `name:`, which it does not know)"
    return text, ""


@cache
def compose_services() -> Mapping[str, Any]:
    """Have the compose file read, all profiles on, and return its services as they are understood."""
    tool = needed_compose()
    text, _ = compose_text()
    profiles = ("--profile", "simulate", "--profile", "registry")
    project = ("--project-directory", str(ROOT), "--file", "-")
    plain = {name: value for name, value in os.environ.items() if not name.endswith("_IMAGE")}
    services: Mapping[str, Any] = yaml.safe_load(
        run([*tool.command, *project, *profiles, "config"], text=text, environment=plain)
    )["services"]
    return services


def dockerfile() -> list[tuple[str, str]]:
    """Return the instructions of the worker's Dockerfile: word and rest, continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text()
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def image_environment() -> dict[str, str]:
    """Return the variables that the worker's image sets."""
    text = " ".join(rest for word, rest in dockerfile() if word == "ENV")
    return dict(re.findall(r"([A-Z_]+)=(\S+)", text))
