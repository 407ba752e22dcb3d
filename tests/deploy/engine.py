"""A Docker engine for the checks of images: the one that answers here, or one that is started for them alone.

`python -m tests.deploy.engine COMMAND…` runs a command with the engine that answers. Where none does, it starts one in
a directory of its own and sets DOCKER_HOST. That needs root and Docker's daemon (Debian: docker.io), touches neither
the machine's own Docker nor its packet filter, and is gone with its images when the command ends, unless
DEPLOY_ENGINE_DIRECTORY names where it is to be kept.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

_ANSWER_S = 5
_CALL_S = 600
_START_S = 60.0
_STOP_S = 30.0
_SOCKET = Path("/var/run/docker.sock")
_BRIDGE = Path("/sys/class/net/docker0")
_LOG_LINES = 20
_FLAGS = (
    # Containers reach each other and this machine, and nothing else: nothing is to be forwarded or translated.
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
    "--bip=172.30.0.1/24",
    "--default-address-pool=base=172.30.128.0/17,size=24",
)


def client() -> Any | str:
    """Return a client of the engine that answers here, or why there is none."""
    if "DOCKER_HOST" not in os.environ and not _SOCKET.exists():
        return "no Docker; `make check-images` starts one, as root, where dockerd is installed (Debian: docker.io)"
    import docker  # noqa: PLC0415  # slow, and needed only here

    try:
        with closing(docker.DockerClient.from_env(timeout=_ANSWER_S)) as asked:
            asked.ping()
        return docker.DockerClient.from_env(timeout=_CALL_S)
    except (docker.errors.DockerException, OSError) as error:
        return f"Docker does not answer ({type(error).__name__})"


@contextmanager
def own_engine(directory: Path) -> Iterator[str]:
    """Run an engine for as long as the block lasts, and give its address.

    Raises:
        RuntimeError: It did not start; the message has the last lines of its log.
    """
    socket = directory / "docker.sock"
    had_bridge = _BRIDGE.exists()
    with (directory / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "dockerd",
                f"--host=unix://{socket}",
                f"--data-root={directory / 'data'}",
                f"--exec-root={directory / 'run'}",
                f"--pidfile={directory / 'docker.pid'}",
                *_FLAGS,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(process, f"unix://{socket}", directory / "dockerd.log")
        yield f"unix://{socket}"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if _BRIDGE.exists() and not had_bridge and shutil.which("ip"):
            subprocess.run(["ip", "link", "delete", _BRIDGE.name], check=False)


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    import docker  # noqa: PLC0415  # slow, and needed only here

    deadline = time.monotonic() + _START_S
    while True:
        try:
            with closing(docker.DockerClient(base_url=address, timeout=_ANSWER_S)) as asked:
                asked.ping()
                return
        except (docker.errors.DockerException, OSError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
                raise RuntimeError("dockerd did not start; its last lines:\n" + "\n".join(lines)) from error
        time.sleep(0.2)


def _main(command: list[str]) -> int:
    answering = client()
    if not isinstance(answering, str):
        answering.close()
        return subprocess.run(command, check=False).returncode
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        sys.stderr.write("an engine of one's own needs root and dockerd (Debian: apt-get install docker.io)\n")
        return 1
    kept = os.environ.get("DEPLOY_ENGINE_DIRECTORY")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        return _run(Path(kept).resolve(), command)
    with tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as directory:
        return _run(Path(directory), command)


def _run(directory: Path, command: list[str]) -> int:
    with own_engine(directory) as address:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, after which the engine ends in order.
        return subprocess.run(command, env={**os.environ, "DOCKER_HOST": address}, check=False).returncode


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
