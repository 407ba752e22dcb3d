"""The manifests, as kustomize renders them: valid, restricted, and at one with what the worker takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import certifi
import jsonschema
import kubernetes_validate
import pytest
from pydantic import SecretStr

from processor.pack_files import PackSource
from processor.settings import load_settings, transactional_id
from processor.settings_model import Settings
from tests.deploy.custom_resources import SCHEMAS
from tests.deploy.tools import DEPLOY, WITH, dockerfile, image_environment, kustomize, rendered

BASE = DEPLOY / "kubernetes" / "base"
EXAMPLE = DEPLOY / "kubernetes" / "overlays" / "example"
BOTH = pytest.mark.parametrize("directory", [BASE, EXAMPLE], ids=["base", "example"])
VERSIONS = ("1.29", "1.33", "1.37")
"""Of Kubernetes: the oldest that the manifests are meant for, one between, the newest that there is a schema of."""
MOUNTED = "/etc/status-processor/"
USER = 10001

Manifest = Mapping[str, Any]


def the(directory: Path, kind: str) -> Manifest:
    """Return the only manifest of a kind."""
    (found,) = [one for one in rendered(directory) if one["kind"] == kind]
    return found


def pod(directory: Path) -> Manifest:
    spec: Manifest = the(directory, "StatefulSet")["spec"]["template"]["spec"]
    return spec


def worker(directory: Path) -> Manifest:
    (container,) = pod(directory)["containers"]
    return dict(container)


def settings(directory: Path, folder: Path, host: str = "status-processor-7") -> Settings:
    """Load the settings as the container would; what is mounted lies in a folder."""
    for volume in pod(directory)["volumes"]:
        place = folder / _mount(directory, volume["name"]).strip("/")
        place.mkdir(parents=True, exist_ok=True)
        for name, text in _contents(directory, volume).items():
            (place / name).write_text(text.replace(MOUNTED, f"{folder}{MOUNTED}"))
    given = {one["name"]: str(one["value"]) for one in worker(directory)["env"]}
    moved = {name: value.replace(MOUNTED, f"{folder}{MOUNTED}") for name, value in given.items()}
    environment = {name: value for name, value in image_environment().items() if name.startswith("STATUS_PROCESSOR_")}
    return load_settings(environ={**environment, **moved, "KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": host})


def _mount(directory: Path, volume: str) -> str:
    return str(next(one["mountPath"] for one in worker(directory)["volumeMounts"] if one["name"] == volume))


def _contents(directory: Path, volume: Manifest) -> Mapping[str, str]:
    if "secret" in volume:
        triggers = the(directory, "TriggerAuthentication")["spec"]["secretTargetRef"]
        authority = Path(certifi.where()).read_text()  # librdkafka looks at it at once.
        return {**{one["key"]: "x" for one in triggers}, "ca.crt": authority, "identity_key": "0123456789abcdef"}
    maps = {one["metadata"]["name"]: one["data"] for one in rendered(directory) if one["kind"] == "ConfigMap"}
    return dict(maps.get(volume.get("configMap", {}).get("name"), {}))


@BOTH
@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_what_kubernetes_takes(
    directory: Path, version: str, record_property: Callable[[str, str], None]
) -> None:
    for manifest in rendered(directory):
        if manifest["kind"] not in SCHEMAS:
            kubernetes_validate.validate(dict(manifest), version, strict=True)

    tool = kustomize()
    assert not isinstance(tool, str)
    record_property(WITH, f"manifests: {tool.name}; kubernetes-validate {kubernetes_validate.__version__}")
    record_property(WITH, "custom resources: shapes of this repository, since nothing pinned carries their definitions")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_manifest_with_a_field_that_there_is_not_is_refused(version: str) -> None:
    wrong = {**the(BASE, "PodDisruptionBudget")["spec"], "maxUnavailable": 1, "maxMissing": 1}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**the(BASE, "PodDisruptionBudget"), "spec": wrong}, version, strict=True)


def test_custom_resources_have_the_shape_that_their_documentation_gives() -> None:
    custom = [one for one in rendered(EXAMPLE) if one["kind"] in SCHEMAS]

    assert {one["kind"] for one in custom} == set(SCHEMAS)
    for manifest in custom:
        jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])


@BOTH
def test_pods_meet_the_restricted_standard(directory: Path) -> None:
    spec, container = pod(directory), worker(directory)

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"} & set(spec)
    assert not [port for port in container["ports"] if "hostPort" in port]
    kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"configMap", "emptyDir", "secret"}
    assert spec["automountServiceAccountToken"] is False


@BOTH
def test_the_pods_user_is_the_images(directory: Path) -> None:
    context = pod(directory)["securityContext"]

    assert [rest for word, rest in dockerfile() if word == "USER"] == [f"{USER}:{USER}"]
    assert {context[name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {USER}


@BOTH
def test_the_worker_takes_its_settings_its_ordinal_and_its_packs(directory: Path, tmp_path: Path) -> None:
    loaded = settings(directory, tmp_path)

    assert loaded.ordinal == 7
    assert transactional_id(loaded) == "status-processor-status-processor-7"
    assert not loaded.static_membership
    assert loaded.metrics.host == "0.0.0.0"
    assert loaded.packs.directory is not None
    assert len(PackSource(loaded.packs.directory, b"").load().carriers) >= 50


def test_the_examples_own_pack_is_taken(tmp_path: Path) -> None:
    loaded = settings(EXAMPLE, tmp_path)

    assert "acme" in PackSource(loaded.packs.directory, b"").load().carriers
    assert isinstance(loaded.kafka["sasl.password"], SecretStr)
    assert loaded.kafka["sasl.password"].get_secret_value() == "x"
    assert loaded.identity_key.get_secret_value() == "0123456789abcdef"


@BOTH
def test_what_the_worker_writes_is_on_a_volume(directory: Path, tmp_path: Path) -> None:
    state = str(settings(directory, tmp_path).state.directory)
    (claim,) = the(directory, "StatefulSet")["spec"]["volumeClaimTemplates"]

    assert _mount(directory, claim["metadata"]["name"]) == state
    read_only = {one["mountPath"] for one in worker(directory)["volumeMounts"] if one.get("readOnly")}
    assert {one["mountPath"] for one in worker(directory)["volumeMounts"]} - read_only == {state, "/tmp"}


@BOTH
def test_probes_ask_the_port_that_the_worker_listens_on(directory: Path, tmp_path: Path) -> None:
    container = worker(directory)
    (port,) = container["ports"]
    paths = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}

    assert port == {"name": "http", "containerPort": settings(directory, tmp_path).metrics.port}
    assert {name: get["path"] for name, get in paths.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {get["port"] for get in paths.values()} == {"http"}


@BOTH
def test_a_pod_has_the_time_that_an_orderly_end_may_take(directory: Path, tmp_path: Path) -> None:
    transaction = settings(directory, tmp_path).transaction

    assert pod(directory)["terminationGracePeriodSeconds"] >= 2 * transaction.timeout_ms / 1000


@BOTH
def test_every_selector_finds_the_pods(directory: Path) -> None:
    labels = the(directory, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        the(directory, "StatefulSet")["spec"]["selector"]["matchLabels"],
        the(directory, "Service")["spec"]["selector"],
        the(directory, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        the(directory, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    if directory == EXAMPLE:
        service = the(directory, "Service")["metadata"]["labels"]
        assert the(directory, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= service.items()

    assert all(selector and selector.items() <= labels.items() for selector in selectors)


@BOTH
def test_the_network_lets_scrapes_in_and_the_brokers_be_reached(directory: Path, tmp_path: Path) -> None:
    policy = the(directory, "NetworkPolicy")["spec"]
    broker = int(str(settings(directory, tmp_path).kafka["bootstrap.servers"]).rpartition(":")[2])
    ranges = [(port["port"], port.get("endPort", port["port"])) for rule in policy["egress"] for port in rule["ports"]]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == ["http"]
    assert all(rule["from"] for rule in policy["ingress"])
    assert any(first <= broker <= last for first, last in ranges)


def test_scaling_follows_the_lag_of_this_group_and_ends_at_the_partitions(tmp_path: Path) -> None:
    loaded = settings(EXAMPLE, tmp_path)
    scaled = the(EXAMPLE, "ScaledObject")["spec"]
    triggers = [one["metadata"] for one in scaled["triggers"]]

    assert "replicas" not in the(EXAMPLE, "StatefulSet")["spec"]
    assert scaled["scaleTargetRef"]["name"] == the(EXAMPLE, "StatefulSet")["metadata"]["name"]
    assert 1 <= scaled["minReplicaCount"] < scaled["maxReplicaCount"] == loaded.partitions
    assert {one["topic"] for one in triggers} == {*loaded.topics.raw, loaded.topics.rekeyed}
    assert {one["consumerGroup"] for one in triggers} == {loaded.group}
    assert {one["bootstrapServers"] for one in triggers} == {loaded.kafka["bootstrap.servers"]}


def test_a_fixed_number_of_replicas_is_no_more_than_the_partitions(tmp_path: Path) -> None:
    assert the(BASE, "StatefulSet")["spec"]["replicas"] <= settings(BASE, tmp_path).partitions


@BOTH
def test_manifests_hold_no_secret(directory: Path) -> None:
    assert not [one for one in rendered(directory) if one["kind"] == "Secret"]
    names = {one["name"] for one in worker(directory)["env"]}
    assert not {name for name in names if any(word in name for word in ("PASSWORD", "SECRET", "KEY"))}
