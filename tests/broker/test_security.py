"""A worker on a broker with TLS, logins and an authorizer that allows nothing: what it needs, what it never tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation, ResourceType

from processor.errors import ExitCode
from processor.headers import headers_of
from processor.simulator.addresses import is_simulated_number
from tests.broker.deployment import Deployment
from tests.broker.test_worker import assert_exact, keyed
from tests.kafka import maven
from tests.kafka.access import ADMIN, WORKER, Access, grant
from tests.kafka.secure import SECRETS, Secure, Way, secure_broker

pytestmark = pytest.mark.broker

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
ROW = re.compile(
    r"^\| (?P<kind>group|topic|transactional id) \| `(?P<name>[^`]+)` \| (?P<operations>[^|]+) \|", re.MULTILINE
)
GRANT = re.compile(r"(?P<operation>Read|Write) on (?P<kind>topic|group|transactional id) (?P<name>[\w.-]+)")
PAGES = ("/", "/metrics", "/status.json", "/livez", "/readyz")
KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional id": ResourceType.TRANSACTIONAL_ID,
}


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    if maven.missing():
        pytest.skip(f"{maven.missing()}: install a JRE and Maven (Debian: apt-get install default-jre-headless maven)")
    with secure_broker(tmp_path_factory.mktemp("secure")) as running:
        yield running


@pytest.fixture
def deployment(secure: Secure, tmp_path: Path) -> Deployment:
    deployment = Deployment(secure.broker, tmp_path, CREATE_TOPICS=False)
    come_by(deployment, secure, Way.SCRAM, ADMIN)
    deployment.create_topics()
    come_by(deployment, secure, Way.SCRAM)
    return deployment


def come_by(deployment: Deployment, secure: Secure, way: Way, name: str = WORKER) -> None:
    """Let the deployment's commands prove in this way who they are, whatever they did before."""
    for key in [key for key in deployment.settings if re.match(r"KAFKA__(SASL|SSL|SECURITY|BOOTSTRAP)", key)]:
        del deployment.settings[key]
    for key, value in secure.client(way, name).items():
        deployment.settings[f"KAFKA__{key.upper().replace('.', '_')}"] = value


def documented(deployment: Deployment) -> list[Access]:
    """Return what docs/security.md says that a worker needs, for this deployment's names."""
    names = {
        "GROUP": deployment.name,
        "APPLICATION-GROUP-ORDINAL": f"{deployment.name}-{deployment.name}-0",
        "each raw topic": deployment.topics["raw"],
        "message.status.changes": deployment.topics["changes"],
        "carrier.status.dead-letter": deployment.topics["dead_letter"],
        "status-processor.state": deployment.topics["state"],
        "status-processor.rekeyed": deployment.topics["rekeyed"],
    }
    return [
        (KINDS[row["kind"]], names[row["name"]], AclOperation[operation.strip().upper()])
        for row in ROW.finditer(PAGE.read_text())
        for operation in row["operations"].split(",")
    ]


def error_of(log: str) -> str:
    """Return the one line with which a worker ended."""
    assert "Traceback" not in log
    (line,) = [line for line in log.splitlines() if line.startswith("error: ")]
    return line


def test_the_documented_access_is_found_from_nothing_by_what_the_worker_says(
    deployment: Deployment, secure: Secure
) -> None:
    granted: list[Access] = []
    oracle = deployment.produce(keyed(300, poison=0.02))
    for _ in range(8):
        with deployment.worker() as worker:
            if worker.ends_or(lambda: deployment.booked().total() >= oracle.totals.total()) is None:
                assert worker.stop() == 0
                break
        assert worker.exit_code == ExitCode.NOT_PERMITTED, worker.log
        asked = [
            (KINDS[m["kind"]], m["name"], AclOperation[m["operation"].upper()]) for m in GRANT.finditer(worker.log)
        ]
        assert set(asked) - set(granted), worker.log
        grant(secure.broker, asked)
        granted += asked

    assert_exact(deployment, oracle)
    assert sorted(set(granted), key=str) == sorted(documented(deployment), key=str)


@pytest.mark.parametrize("way", list(Way))
def test_a_worker_with_the_documented_access_does_its_work_and_tells_no_secret(
    deployment: Deployment, secure: Secure, way: Way
) -> None:
    grant(secure.broker, documented(deployment))
    oracle = deployment.produce(keyed(1_000, poison=0.02))
    come_by(deployment, secure, way)
    deployment.settings["LOG__LEVEL"] = "debug"

    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        told = [worker.page(path) for path in PAGES]
        assert worker.stop() == 0

    assert_exact(deployment, oracle)
    letters = deployment.dead_letters()
    assert letters
    told += [
        str(value) for letter in letters for name, value in headers_of(letter) if name.startswith("status.errors.")
    ]
    told += [worker.log, deployment.command("config").stdout, deployment.command("config", "--json").stdout]
    for text in told:
        assert not is_simulated_number(text)
        assert not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize(
    ("setting", "value", "exit_code", "words"),
    [
        pytest.param("KAFKA__SASL_PASSWORD", "wrong", ExitCode.NOT_PERMITTED, "authentication", id="password"),
        pytest.param("KAFKA__SSL_CA_LOCATION", "{foreign}", ExitCode.UNAVAILABLE, "certificate verify failed", id="ca"),
        pytest.param("KAFKA__BOOTSTRAP_SERVERS", "{elsewhere}", ExitCode.UNAVAILABLE, "certificate", id="host name"),
    ],
)
def test_a_broker_or_a_login_that_cannot_be_trusted_ends_in_one_line_that_says_why(
    deployment: Deployment, secure: Secure, setting: str, value: str, exit_code: ExitCode, words: str
) -> None:
    if "elsewhere" in value:
        come_by(deployment, secure, Way.MTLS)
    deployment.settings[setting] = value.format(foreign=secure.foreign_ca(), elsewhere=secure.under_another_name())

    done = deployment.command("run", "--ordinal", "0")

    assert done.returncode == exit_code, done.stderr
    line = error_of(done.stderr)
    assert words in line.lower()
    assert not [secret for secret in SECRETS if secret in done.stderr]
