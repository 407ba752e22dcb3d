"""Images that stand in for official ones where none can be pulled, built from Debian's packages and Kafka's jars.

They have the names, users, paths and variables that the worker's image and the compose file rely on, so that both are
built and run as they are. What they cannot show is that the official images are as they are believed to be.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.kafka import maven

SUITE = "trixie"
"""Of Debian: the one that the official image python:3.13-slim-trixie is built on."""
_FOLDER = Path(__file__).parent
_REPOSITORY = "status-processor-stand-in"
_PACKAGES = "ca-certificates,netbase,tzdata,python3,python3-venv,python3-dev"
_BOOTSTRAP_S = 600
_PATH = "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"


def missing() -> str:
    """Return what this machine lacks to build them, empty where it lacks nothing."""
    if os.geteuid() != 0:
        return "not root, which debootstrap needs"
    if shutil.which("debootstrap") is None:
        return "no debootstrap: install it (Debian: apt-get install debootstrap)"
    return maven.missing()


def build(client: Any, name: str, tell: Callable[[str], None]) -> str:
    """Build the stand-in of an image (python, kafka, prometheus) where it is not there yet, and return its name."""
    tag = f"{_REPOSITORY}/{name}:{_contents(name)}"
    if client.images.list(tag):
        return tag
    root = _root(client, tell) if name == "python" else build(client, "python", tell)
    tell(f"building {tag}")
    with tempfile.TemporaryDirectory() as folder:
        context = Path(shutil.copytree(_FOLDER / name, Path(folder) / name))
        if name == "python":
            (context / "certificates").mkdir()
            for certificate in Path("/usr/local/share/ca-certificates").glob("*.crt"):
                shutil.copy(certificate, context / "certificates")
        if name == "kafka":
            shutil.copytree(maven.fetch_jars(), context / "libs")
        client.images.build(
            path=str(context), tag=tag, buildargs={"ROOT": root}, network_mode="host", rm=True, forcerm=True
        )
    return tag


def _contents(name: str) -> str:
    """Return a tag that changes with what the image is built from; all are built on Python's."""
    folders = {_FOLDER / "python", _FOLDER / name}
    files = sorted(path for folder in folders for path in folder.iterdir() if path.is_file())
    told = "".join(f"{path.name}\n{path.read_text()}\n" for path in files)
    return hashlib.sha256(f"{SUITE} {_PACKAGES} {maven.VERSION}\n{told}".encode()).hexdigest()[:12]


def _root(client: Any, tell: Callable[[str], None]) -> str:
    """Bring the smallest Debian into the engine, with Python."""
    tag = f"{_REPOSITORY}/debian:{hashlib.sha256(f'{SUITE} {_PACKAGES}'.encode()).hexdigest()[:12]}"
    if client.images.list(tag):
        return tag
    tell(f"building {tag} by debootstrap: a minute or two")
    with tempfile.TemporaryDirectory() as folder:
        tree, archive = Path(folder) / "root", Path(folder) / "root.tar"
        command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", SUITE, str(tree), *_mirror()]
        _run(command)
        _run(["tar", "--create", f"--file={archive}", f"--directory={tree}", "--exclude=./dev/*", "."])
        repository, _, version = tag.rpartition(":")
        client.api.import_image_from_file(str(archive), repository=repository, tag=version, changes=[_PATH])
    return tag


def _mirror() -> list[str]:
    """Return the mirror that this machine's own packages come from; debootstrap's default where there is none."""
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Origin: Debian"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout.split()
    return [site for site in told if "security" not in site][:1]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_BOOTSTRAP_S, check=False)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
        raise RuntimeError(f"{command[0]} failed with exit code {done.returncode}:\n{last}")
