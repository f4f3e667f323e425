"""What a LeaderWorkerSet may say: as a JSON schema, for no package has its definition.

Source: the reference of `leaderworkerset.x-k8s.io/v1` (https://lws.sigs.k8s.io/docs/reference/leaderworkerset.v1/).
"""

from __future__ import annotations

from typing import Any

import jsonschema

from tests.deploy.manifests import Tree


def _object(required: tuple[str, ...] = (), /, **properties: Any) -> dict[str, Any]:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _one_of(*words: str) -> dict[str, Any]:
    return {"enum": list(words)}


_COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_SHARE = {"anyOf": [_COUNT, {"type": "string", "pattern": r"^\d+%$"}]}
_KEPT = _one_of("Retain", "Delete")
_TEXT = {"type": "string"}
_LABELS = {"type": "object", "additionalProperties": _TEXT}
_NAMED = _object(("name",), name=_TEXT, namespace=_TEXT, labels=_LABELS, annotations=_LABELS)
_TEMPLATE = _object(("spec",), metadata=_object(labels=_LABELS, annotations=_LABELS), spec={"type": "object"})
"""A template of pods, whose `spec` is checked as a pod's."""

_GROUP = _object(
    ("workerTemplate",),
    leaderTemplate=_TEMPLATE,
    workerTemplate=_TEMPLATE,
    size=_COUNT | {"minimum": 1},
    restartPolicy=_one_of("RecreateGroupOnPodRestart", "RecreateGroupAfterStart", "None"),
    subGroupPolicy=_object(
        subGroupPolicyType=_one_of("LeaderWorker", "LeaderExcluded"),
        subGroupSize=_COUNT | {"minimum": 1},
    ),
    volumeClaimTemplates={"type": "array", "items": {"type": "object"}},
    persistentVolumeClaimRetentionPolicy=_object(whenDeleted=_KEPT, whenScaled=_KEPT),
)
_SPEC = _object(
    ("leaderWorkerTemplate",),
    replicas=_COUNT | {"maximum": 1_000_000},
    leaderWorkerTemplate=_GROUP,
    rolloutStrategy=_object(
        ("type",),
        type=_one_of("RollingUpdate"),
        rollingUpdateConfiguration=_object(partition=_COUNT, maxUnavailable=_SHARE, maxSurge=_SHARE),
    ),
    startupPolicy=_one_of("LeaderCreated", "LeaderReady"),
    networkConfig=_object(("subdomainPolicy",), subdomainPolicy=_one_of("Shared", "UniquePerReplica")),
)
SCHEMA = _object(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion=_one_of("leaderworkerset.x-k8s.io/v1"),
    kind=_one_of("LeaderWorkerSet"),
    metadata=_NAMED,
    spec=_SPEC,
)


def faults_of_group(content: Tree) -> list[str]:
    """What is wrong with a LeaderWorkerSet, its pods apart, and where."""
    errors = jsonschema.Draft202012Validator(SCHEMA).iter_errors(content)
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in errors]
