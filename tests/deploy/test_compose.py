"""The compose file, as compose itself understands it, and the image that it builds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from processor.cli import commands
from processor.settings import load_settings
from processor.settings_model import Settings
from tests.deploy.tools import (
    COMPOSE,
    ROOT,
    WITH,
    compose_services,
    compose_text,
    dockerfile,
    image_environment,
    needed_compose,
)

WRITE_THEIR_OWN_FILES = {"kafka", "registry"}
"""Images that write to their own root; the file says why."""
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
EXACT = re.compile(r":v?\d+\.\d+\.\d+$")

Service = Mapping[str, Any]


@pytest.fixture(params=["kafka", "worker", "simulator", "prometheus", "grafana", "registry"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def service(name: str) -> Service:
    found: Service = compose_services()[name]
    return found


def settings_of(service: str) -> Settings:
    """Load the settings as a service's container would."""
    given = {key: str(value) for key, value in compose_services()[service]["environment"].items() if value is not None}
    return load_settings(environ={**image_environment(), **given})


def test_compose_takes_the_file(record_property: Callable[[str, str], None]) -> None:
    assert set(compose_services()) == {"kafka", "worker", "simulator", "prometheus", "grafana", "registry"}
    record_property(WITH, f"compose file: {needed_compose().name}{compose_text()[1]}")


def test_what_is_not_always_there_stands_behind_a_profile() -> None:
    profiles = {name: one.get("profiles", []) for name, one in compose_services().items()}

    assert {name: found for name, found in profiles.items() if found} == {
        "simulator": ["simulate"],
        "registry": ["registry"],
    }


def test_a_service_has_no_more_rights_than_it_needs(name: str, service: Service) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0
    assert service["mem_limit"]
    assert "privileged" not in service
    assert service.get("read_only", False) is (name not in WRITE_THEIR_OWN_FILES)


def test_ports_are_open_to_this_machine_alone(service: Service) -> None:
    for port in service.get("ports", []):
        address = port["host_ip"] if isinstance(port, dict) else port.split(":")[0]
        assert address == "127.0.0.1"


def test_an_image_is_pinned(name: str, service: Service) -> None:
    if "build" in service:
        (default,) = re.findall(r"PYTHON_IMAGE=(\S+)", " ".join(rest for word, rest in dockerfile() if word == "ARG"))
        assert DIGEST.search(default)
    elif name == "registry":
        assert EXACT.search(service["image"])
    else:
        assert DIGEST.search(service["image"])


def test_a_service_that_is_waited_for_says_when_it_is_there() -> None:
    services = compose_services()

    for one in services.values():
        for awaited, how in one.get("depends_on", {}).items():
            assert how["condition"] == "service_healthy"
            assert services[awaited]["healthcheck"]["test"]


def test_the_worker_and_the_simulator_take_their_settings() -> None:
    listeners = compose_services()["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]

    assert settings_of("worker").ordinal == 0
    for service in ("worker", "simulator"):
        assert f"INSIDE://{settings_of(service).kafka['bootstrap.servers']}," in listeners


def test_what_the_worker_writes_is_on_a_volume() -> None:
    targets = {
        one["target"] if isinstance(one, dict) else one.split(":")[1] for one in compose_services()["worker"]["volumes"]
    }

    assert targets == {str(settings_of("worker").state.directory)}
    assert compose_services()["worker"]["tmpfs"] == ["/tmp"]


@pytest.mark.parametrize("service", ["worker", "simulator"])
def test_a_containers_command_is_one_of_the_programs(service: str) -> None:
    command, *options = compose_services()[service]["command"]

    commands.commands[command].make_context(command, list(options))


def test_health_checks_of_the_program_are_its_own_commands() -> None:
    image = " ".join(rest for word, rest in dockerfile() if word == "HEALTHCHECK")
    asked = [re.findall(r'"([^"]+)"', image), compose_services()["worker"]["healthcheck"]["test"][1:]]

    for program, command, *options in asked:
        assert program == "status-processor"
        commands.commands[command].make_context(command, list(options))


def test_the_image_ends_as_the_user_of_the_worker_with_nothing_but_the_program() -> None:
    last = max(index for index, (word, _) in enumerate(dockerfile()) if word == "FROM")
    final = dockerfile()[last:]

    assert ("USER", "10001:10001") in final
    assert ("ENTRYPOINT", '["status-processor"]') in final
    assert not [rest for word, rest in final if word == "RUN" and ("apt" in rest or "pip" in rest)]
    assert {rest.rpartition(" ")[0] for word, rest in final if word == "COPY"} == {"--from=build /opt/status-processor"}


def test_the_usage_that_the_file_shows_is_of_commands_that_there_are() -> None:
    shown = re.findall(r"status-processor (\w+)|simulator (simulate [^\n]*?)\s{2,}", COMPOSE.read_text())

    assert shown
    for command, line in shown:
        assert (command or line.split()[0]) in commands.commands


def test_no_file_of_the_deployment_is_left_out_of_what_the_image_needs() -> None:
    needed = {
        source
        for word, rest in dockerfile()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    assert {f"!{source}" for source in needed} == {line for line in ignored if line.startswith("!")}
