"""A broker as production has it: TLS everywhere, SCRAM, mTLS and OAUTHBEARER, and an authorizer that allows nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.kafka.access import ADMIN, WORKER
from tests.kafka.broker import Broker
from tests.kafka.identity_provider import AUDIENCE, IdentityProvider, identity_provider
from tests.kafka.maven import MavenBroker
from tests.kafka.readiness import HOST, free_port

PASSWORD = "canary-of-a-password-Zx81"
CLIENT_SECRET = "canary-of-a-client-secret-Qv17"
SECRETS = (PASSWORD, CLIENT_SECRET)
"""What must be found in no log, page or error."""

_SCRAM = "SCRAM-SHA-512"
_OAUTH = "org.apache.kafka.common.security.oauthbearer"


class Way(StrEnum):
    """How a client proves who it is."""

    SCRAM = "scram"
    MTLS = "mtls"
    OAUTH = "oauth"


@dataclass(frozen=True)
class Secure:
    """The broker, and what a client needs for each way to it."""

    broker: Broker
    directory: Path
    ports: dict[str, int]
    provider: IdentityProvider

    def client(self, way: Way, name: str = WORKER) -> dict[str, str | float]:
        """Return librdkafka's settings of a user."""
        found: dict[str, str | float] = {
            "bootstrap.servers": f"{HOST}:{self.ports[way]}",
            "ssl.ca.location": str(self.directory / "ca.pem"),
        }
        match way:
            case Way.SCRAM:
                login: dict[str, str | float] = {"sasl.mechanism": _SCRAM, "sasl.username": name}
                return {**found, "security.protocol": "SASL_SSL", **login, "sasl.password": PASSWORD}
            case Way.MTLS:
                key = {
                    "ssl.certificate.location": str(self.directory / f"{name}.pem"),
                    "ssl.key.location": str(self.directory / f"{name}.pem"),
                }
                return {**found, "security.protocol": "SSL", **key}
            case Way.OAUTH:
                return {
                    **found,
                    "security.protocol": "SASL_SSL",
                    "sasl.mechanism": "OAUTHBEARER",
                    "sasl.oauthbearer.method": "oidc",
                    "sasl.oauthbearer.token.endpoint.url": self.provider.endpoint,
                    "sasl.oauthbearer.client.id": name,
                    "sasl.oauthbearer.client.secret": CLIENT_SECRET,
                }

    def under_another_name(self) -> str:
        """Return the address where the broker shows a certificate of another host."""
        return f"{HOST}:{self.ports['elsewhere']}"

    def foreign_ca(self) -> Path:
        """Return a certificate authority that has signed nothing here."""
        path = self.directory / "foreign-ca.pem"
        trustme.CA().cert_pem.write_to_path(path)
        return path


@contextmanager
def secure_broker(directory: Path) -> Iterator[Secure]:
    """Run a secured broker for as long as the block lasts, however it ends."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    _write(authority.issue_cert(HOST, "localhost"), directory / "broker.pem")
    _write(authority.issue_cert("elsewhere.example"), directory / "elsewhere.pem")
    for name in (ADMIN, WORKER):
        _write(authority.issue_cert(f"{name}.example", common_name=name), directory / f"{name}.pem")
    ports = {name: free_port() for name in (*Way, "elsewhere")}
    with identity_provider(CLIENT_SECRET) as provider:
        provider.write_keys(directory / "keys.json")
        users = [f"{_SCRAM}=[name={name},password={PASSWORD}]" for name in (ADMIN, WORKER)]
        secure = Secure(Broker({}), directory, ports, provider)
        process = MavenBroker(
            directory / "kafka",
            _config(directory, ports),
            secure.client(Way.SCRAM, ADMIN),
            format_options=[part for user in users for part in ("--add-scram", user)],
            java_options=[f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={(directory / 'keys.json').as_uri()}"],
        )
        try:
            process.start()
            yield Secure(Broker(process.client, process), directory, ports, provider)
        finally:
            process.discard()


def _config(directory: Path, ports: dict[str, int]) -> dict[str, str]:
    listeners = ",".join(f"{name.upper()}://{HOST}:{port}" for name, port in ports.items())
    module = "org.apache.kafka.common.security"
    login = f'{module}.scram.ScramLoginModule required username="{ADMIN}" password="{PASSWORD}";'
    return {
        "listeners": f"{listeners},CONTROLLER://{HOST}:{{controller_port}}",
        "listener.security.protocol.map": "SCRAM:SASL_SSL,MTLS:SSL,OAUTH:SASL_SSL,ELSEWHERE:SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "SCRAM",
        "sasl.mechanism.inter.broker.protocol": _SCRAM,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(directory / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(directory / "ca.pem"),
        "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
        "listener.name.scram.sasl.enabled.mechanisms": _SCRAM,
        "listener.name.scram.scram-sha-512.sasl.jaas.config": login,
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.elsewhere.ssl.keystore.type": "PEM",
        "listener.name.elsewhere.ssl.keystore.location": str(directory / "elsewhere.pem"),
        "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.oauth.oauthbearer.sasl.jaas.config": f"{_OAUTH}.OAuthBearerLoginModule required;",
        "listener.name.oauth.oauthbearer.sasl.server.callback.handler.class": (
            f"{_OAUTH}.OAuthBearerValidatorCallbackHandler"
        ),
        "listener.name.oauth.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": (directory / "keys.json").as_uri(),
        "listener.name.oauth.oauthbearer.sasl.oauthbearer.expected.audience": AUDIENCE,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # Nobody but the broker itself speaks to its controller.
        "super.users": f"User:{ADMIN};User:ANONYMOUS",
    }


def _write(certificate: trustme.LeafCert, path: Path) -> None:
    """Write a key, as PKCS #8, which is what Kafka reads, and the certificates that go with it."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for one in certificate.cert_chain_pems:
        one.write_to_path(path, append=True)
    path.chmod(0o600)
