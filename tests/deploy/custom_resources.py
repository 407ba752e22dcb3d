"""Shapes of the custom resources that the manifests use, as their documentation has them, and no more of it.

Nothing pinned carries their definitions, so these hold names and types of what is used here: a field that is not
listed is a mistake until somebody has looked it up. ServiceMonitor: monitoring.coreos.com/v1. ScaledObject and
TriggerAuthentication: keda.sh/v1alpha1, its Kafka scaler's metadata are texts throughout.
"""

from __future__ import annotations

from typing import Any


def _closed(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required or properties),
        "additionalProperties": False,
    }


_TEXT = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 1}
_SWITCH = {"enum": ["true", "false"]}
_LABELS = {"type": "object", "additionalProperties": _TEXT}
_SCALING = _closed(
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    policies={
        "type": "array",
        "minItems": 1,
        "items": _closed(type={"enum": ["Pods", "Percent"]}, value=_COUNT, periodSeconds={**_COUNT, "maximum": 1800}),
    },
)
_METADATA = _closed(("name",), name=_TEXT, namespace=_TEXT, labels=_LABELS)
_KAFKA_TRIGGER = _closed(
    ("type", "name", "metadata"),
    type={"const": "kafka"},
    name=_TEXT,
    metadata=_closed(
        ("bootstrapServers", "consumerGroup", "topic", "lagThreshold"),
        bootstrapServers=_TEXT,
        consumerGroup=_TEXT,
        topic=_TEXT,
        lagThreshold={"type": "string", "pattern": "^[1-9][0-9]*$"},
        excludePersistentLag=_SWITCH,
        allowIdleConsumers=_SWITCH,
        sasl={"enum": ["plaintext", "scram_sha256", "scram_sha512", "oauthbearer"]},
        tls={"enum": ["enable", "disable"]},
    ),
    authenticationRef=_closed(name=_TEXT),
)


def _resource(api_version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _closed(apiVersion={"const": api_version}, kind={"const": kind}, metadata=_METADATA, spec=spec)


SCHEMAS = {
    "ServiceMonitor": _resource(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        _closed(
            jobLabel=_TEXT,
            selector=_closed(matchLabels=_LABELS),
            endpoints={
                "type": "array",
                "minItems": 1,
                "items": _closed(port=_TEXT, path=_TEXT, interval=_TEXT, scrapeTimeout=_TEXT),
            },
        ),
    ),
    "ScaledObject": _resource(
        "keda.sh/v1alpha1",
        "ScaledObject",
        _closed(
            scaleTargetRef=_closed(apiVersion=_TEXT, kind=_TEXT, name=_TEXT),
            pollingInterval=_COUNT,
            minReplicaCount=_COUNT,
            maxReplicaCount=_COUNT,
            advanced=_closed(
                horizontalPodAutoscalerConfig=_closed(behavior=_closed(scaleUp=_SCALING, scaleDown=_SCALING))
            ),
            triggers={"type": "array", "minItems": 1, "items": _KAFKA_TRIGGER},
        ),
    ),
    "TriggerAuthentication": _resource(
        "keda.sh/v1alpha1",
        "TriggerAuthentication",
        _closed(
            secretTargetRef={
                "type": "array",
                "minItems": 1,
                "items": _closed(
                    parameter={"enum": ["username", "password", "ca", "cert", "key", "sasl", "tls"]},
                    name=_TEXT,
                    key=_TEXT,
                ),
            }
        ),
    ),
}
"""By kind."""
