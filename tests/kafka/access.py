"""A broker that asks who is there: SASL/PLAIN users, and access control lists that a test grants and takes away."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from tests.kafka.broker import Broker
from tests.kafka.readiness import HOST

PASSWORD: Final = "not-a-secret"
ADMIN: Final = "admin"
"""May do everything."""
WORKER: Final = "worker"
"""May do what it is granted."""

Access = tuple[ResourceType, str, AclOperation]
"""What may be done to what."""


def guarded_config() -> dict[str, str]:
    """Return the settings of a broker with two users and an authorizer."""
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required username="{ADMIN}" password="{PASSWORD}"'
    users = " ".join(f'user_{name}="{PASSWORD}"' for name in (ADMIN, WORKER))
    return {
        "listeners": f"SASL_PLAINTEXT://{HOST}:{{port}},CONTROLLER://{HOST}:{{controller_port}}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "inter.broker.listener.name": "SASL_PLAINTEXT",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": f"{login} {users};",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # Nobody but the broker itself speaks to its controller.
        "super.users": f"User:{ADMIN};User:ANONYMOUS",
    }


def user(name: str) -> dict[str, str | float]:
    """Return librdkafka settings of a user."""
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": name,
        "sasl.password": PASSWORD,
    }


def grant(broker: Broker, accesses: Iterable[Access]) -> None:
    """Allow the worker all of these."""
    bindings = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{WORKER}", "*", operation, AclPermissionType.ALLOW)
        for kind, name, operation in accesses
    ]
    for future in broker.admin.create_acls(bindings).values():
        future.result(30)


def take_away(broker: Broker, access: Access) -> None:
    """Allow the worker one thing less."""
    kind, name, operation = access
    wanted = AclBindingFilter(
        kind, name, ResourcePatternType.LITERAL, f"User:{WORKER}", "*", operation, AclPermissionType.ALLOW
    )
    for future in broker.admin.delete_acls([wanted]).values():
        assert len(future.result(30)) == 1
