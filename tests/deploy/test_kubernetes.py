"""The manifests for a cluster: valid, whole, confined, and in agreement with what the processes take."""

from __future__ import annotations

import re
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from cli.environment import PROCESS_SETTINGS
from services.rpc.settings import load
from tests.deploy.foreign import INSTALLED, faults, is_described
from tests.deploy.imports import ROOT
from tests.deploy.leader_worker_set import faults_of_group
from tests.deploy.manifests import (
    FOLDER,
    KUBECTL,
    Manifest,
    Workload,
    every_manifest,
    kustomization,
    kustomizations,
    kustomized,
    manifests,
    patches,
    workloads,
)
from tests.deploy.settings_named import unknown_settings

VERSIONS = ("1.32", "1.37")
SERVED = ("edge", "web", "auth", "tools", "inference")
OVERLAYS = [folder.name for folder in kustomizations() if folder.parts[0] == "overlays"]
WITH_SETTINGS = [o for o in OVERLAYS if "../../base" in kustomization(Path("overlays", o))["resources"]]
"""The overlays that name settings; others stand on one of them."""

MANIFESTS = every_manifest()
WORKLOADS = workloads()

needs_kubectl = pytest.mark.skipif(
    KUBECTL is None, reason="issue 6: kubectl is not on every machine; patches are checked below"
)
needs_packages = pytest.mark.skipif(
    not INSTALLED, reason="issue 6: npm is not on every machine, and its packages describe these kinds"
)


def of_kind(kind: str) -> list[Manifest]:
    return [manifest for manifest in MANIFESTS if manifest.kind == kind]


def workload_id(workload: Workload) -> str:
    return "-".join(str(value) for value in (workload.name, *workload.labels.values()))


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels in."""
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(expression["key"]) in expression["values"] for expression in expressions
    )


def check(content: dict[str, Any], versions: tuple[str, ...] = VERSIONS) -> None:
    if content["kind"] == "LeaderWorkerSet":
        assert faults_of_group(content) == []
    elif not is_described(content):
        for version in versions:
            kubernetes_validate.validate(content, version, strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=str)
def test_it_is_valid(manifest: Manifest) -> None:
    check(manifest.content)


@pytest.mark.parametrize("workload", WORKLOADS, ids=workload_id)
def test_its_pods_are_valid(workload: Workload) -> None:
    check({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": workload.spec})


def test_a_manifest_with_a_slip_would_be_found() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"selektor": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        check(service)


@pytest.mark.parametrize(
    ("where", "wrong", "told"),
    [
        ("", {"replica": 1}, "'replica' was unexpected"),
        ("", {"startupPolicy": "LeaderFirst"}, "'LeaderFirst' is not one of"),
        ("", {"networkConfig": {}}, "'subdomainPolicy' is a required property"),
        ("leaderWorkerTemplate", {"size": "2"}, "'2' is not of type 'integer'"),
        ("leaderWorkerTemplate", {"restartPolicy": "Always"}, "'Always' is not one of"),
        ("rolloutStrategy", {"rollingUpdateConfiguration": {"maxSurge": "half"}}, "'half' is not valid"),
    ],
)
def test_a_group_with_a_slip_would_be_found(where: str, wrong: dict[str, Any], told: str) -> None:
    [group] = of_kind("LeaderWorkerSet")
    content = deepcopy(group.content)
    (content["spec"][where] if where else content["spec"]).update(wrong)
    [fault] = faults_of_group(content)
    assert told in fault


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_kustomize_makes_is_valid(overlay: str) -> None:
    contents = kustomized(overlay)
    assert {content["metadata"].get("namespace", "parley") for content in contents} == {"parley"}
    for content in contents:
        check(content, VERSIONS[-1:])


SLIPS: dict[str, dict[str, dict[str, Any]]] = {
    "labls": {"metadata": {"labls": {}}},
    "kinds": {"spec": {"issuerRef": {"name": "mesh", "kinds": "Issuer"}}},
    "ECDSAA": {"spec": {"privateKey": {"algorithm": "ECDSAA"}}},
    "secretName must be string": {"spec": {"secretName": 5}},
    "size must be integer": {"spec": {"privateKey": {"size": 25.6}}},
    "issuerRef must have required property": {"spec": {"issuerRef": {}}},
}
"""Slips in a certificate, by what must be said of them."""


@cache
def foreign_faults() -> dict[str, list[str]]:
    """What is wrong with manifests of other makers' kinds, and with slips, by where they stand.

    Manifests as they lie there and as kustomize makes them. All at once, as each asking takes seconds.
    """
    asked = {str(manifest): manifest.content for manifest in MANIFESTS}
    for overlay in OVERLAYS if KUBECTL else ():
        asked |= {
            f"{overlay}:{made['kind']}/{made['metadata']['name']}": made for made in kustomized(overlay)
        }
    certificate = of_kind("Certificate")[0].content
    for told, slip in SLIPS.items():
        asked[told] = certificate | {part: certificate[part] | wrong for part, wrong in slip.items()}
    described = {where: content for where, content in asked.items() if is_described(content)}
    return dict(zip(described, faults(list(described.values())), strict=True))


@needs_packages
def test_kinds_of_other_makers_are_valid() -> None:
    found = {where: wrong for where, wrong in foreign_faults().items() if where not in SLIPS}
    assert len(found) >= sum(is_described(manifest.content) for manifest in MANIFESTS)
    assert {where: wrong for where, wrong in found.items() if wrong} == {}


@needs_packages
@pytest.mark.parametrize("told", SLIPS)
def test_a_slip_in_a_kind_of_another_maker_is_found(told: str) -> None:
    assert told in " ".join(foreign_faults()[told])


@pytest.mark.parametrize("folder", kustomizations(), ids=str)
def test_each_patch_meets_what_it_changes(folder: Path) -> None:
    taken_in = {(manifest.kind, manifest.name) for manifest in manifests(folder)}
    containers = {workload.name for workload in WORKLOADS}
    for patch in patches(folder):
        assert (patch.kind, patch.name) in taken_in
        if "template" in patch.content["spec"]:
            named = patch.content["spec"]["template"]["spec"]["containers"]
            assert {container["name"] for container in named} <= containers


def test_every_file_is_taken_in_by_somebody() -> None:
    used = {manifest.file for manifest in MANIFESTS}
    used |= {patch.file for folder in kustomizations() for patch in patches(folder)}
    used |= {folder / "kustomization.yaml" for folder in kustomizations()} | {
        Path("pool/name-references.yaml")
    }
    assert used == {path.relative_to(FOLDER) for path in FOLDER.rglob("*.yaml")}


@pytest.mark.parametrize("workload", WORKLOADS, ids=workload_id)
def test_it_runs_as_nobody_and_can_do_nothing_more(workload: Workload) -> None:
    pod, container = workload.spec["securityContext"], workload.container["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] == 10001
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert workload.spec["automountServiceAccountToken"] is False
    assert workload.spec["enableServiceLinks"] is False, "its variables would look like settings"
    assert not {"hostNetwork", "hostPID", "hostIPC"} & workload.spec.keys()
    assert not any("hostPath" in volume for volume in workload.spec["volumes"])


@pytest.mark.parametrize("workload", WORKLOADS, ids=workload_id)
def test_it_is_bounded_and_watched(workload: Workload) -> None:
    container = workload.container
    assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "livenessProbe" in container
    if workload.name != "worker":
        assert {"startupProbe", "readinessProbe"} <= container.keys()
        assert {spread["topologyKey"] for spread in workload.spec["topologySpreadConstraints"]} == {
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        }


@pytest.mark.parametrize("workload", [w for w in WORKLOADS if w.name in SERVED], ids=workload_id)
def test_its_end_leaves_time_for_all_that_comes_before(workload: Workload) -> None:
    """The hook, then NOT_SERVING, then the running calls, then a little for the process itself."""
    container, variables = workload.container, workload.variables
    prefix = f"PARLEY_{workload.name.upper()}_"
    hook = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain, grace = (float(variables.get(f"{prefix}{name}_SECONDS", 0)) for name in ("DRAIN", "GRACE"))
    if workload.name == "edge":
        grace = float(container["args"][container["args"].index("--grace-seconds") + 1])
    if workload.name == "web":
        assert hook >= 5
    elif workload.name == "edge":
        readiness = container["readinessProbe"]
        assert hook > readiness["periodSeconds"] * readiness["failureThreshold"]
    else:
        assert drain >= 3, "the edge looks each second"
    assert grace > 0
    assert workload.spec["terminationGracePeriodSeconds"] >= hook + drain + grace + 5


@pytest.mark.parametrize("workload", [w for w in WORKLOADS if w.name == "inference"], ids=workload_id)
def test_a_model_of_more_gpus_than_a_host_has_is_held_together_by_ray(workload: Workload) -> None:
    """vLLM refuses it otherwise, and finds out only once it runs."""
    variables = workload.variables
    sizes = [variables.get(f"PARLEY_INFERENCE_{name}_PARALLEL_SIZE", "1") for name in ("TENSOR", "PIPELINE")]
    is_larger = int(sizes[0]) * int(sizes[1]) > int(
        workload.container["resources"]["limits"]["nvidia.com/gpu"]
    )
    assert is_larger == (variables.get("PARLEY_INFERENCE_DISTRIBUTED_BACKEND") == "ray")


@pytest.mark.parametrize("deployment", of_kind("Deployment"), ids=str)
def test_it_is_never_taken_down_whole(deployment: Manifest) -> None:
    labels = deployment.content["spec"]["template"]["metadata"]["labels"]
    budgets = [b for b in of_kind("PodDisruptionBudget") if selects(b.content["spec"]["selector"], labels)]
    assert [budget.content["spec"]["maxUnavailable"] for budget in budgets] == [1]


def flows(workload: Workload) -> set[tuple[str, int]]:
    """The services of the namespace that a workload's variables name, with their ports."""
    text = " ".join(workload.variables.values())
    return {
        (host, int(port)) for host, port in re.findall(r"\b(edge|web|auth|tools|inference)[\w-]*:(\d+)", text)
    }


def lets(direction: str, side: str, subject: dict[str, str], other: dict[str, str], port: int) -> bool:
    """Whether some policy of the subject lets it speak with the other in this direction."""
    for policy in of_kind("NetworkPolicy"):
        spec = policy.content["spec"]
        if not selects(spec["podSelector"], subject):
            continue
        for rule in spec.get(direction, []):
            ports = {entry["port"] for entry in rule.get("ports", [])} or {port}
            peers = rule.get(side, [{"podSelector": {}}])
            if port in ports and any(
                selects(p["podSelector"], other) for p in peers if p.keys() == {"podSelector"}
            ):
                return True
    return False


def test_whoever_is_not_let_in_stays_out() -> None:
    (deny,) = (policy for policy in of_kind("NetworkPolicy") if policy.name == "deny-all")
    assert deny.content["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    stranger, auth = {"app.kubernetes.io/name": "stranger"}, {"app.kubernetes.io/name": "auth"}
    assert not lets("ingress", "from", auth, stranger, 8000)
    assert not lets("egress", "to", stranger, auth, 8000)
    assert not lets("ingress", "from", auth, {"app.kubernetes.io/name": "web"}, 8000)


@pytest.mark.parametrize("workload", [w for w in WORKLOADS if w.name in SERVED], ids=workload_id)
def test_whoever_is_called_lets_the_caller_in(workload: Workload) -> None:
    targets = {service.name: service.content["spec"]["ports"] for service in of_kind("Service")}
    inner = {"edge": 8443, "web": 8080, "auth": 8000, "tools": 8000, "inference": 8000}
    for host, port in flows(workload):
        assert host not in targets or port in {entry["port"] for entry in targets[host]}
        other = {"app.kubernetes.io/name": host}
        assert lets("egress", "to", workload.labels, other, inner[host]), f"{workload.name} calls {host}"
        assert lets("ingress", "from", other, workload.labels, inner[host]), f"{host} is called"


def test_only_the_edge_is_reached_from_outside() -> None:
    kinds = {service.name: service.content["spec"].get("type", "ClusterIP") for service in of_kind("Service")}
    assert [name for name, kind in kinds.items() if kind != "ClusterIP"] == ["edge"]
    assert not of_kind("Ingress")


def test_each_process_has_a_certificate_that_is_renewed() -> None:
    issued = {certificate.name: certificate.content["spec"] for certificate in of_kind("Certificate")}
    for name in SERVED:
        spec = issued[f"{name}-identity"]
        assert spec["uris"] == [f"spiffe://parley.local/{name}"]
        assert spec["dnsNames"] == [f"{name}.parley.local"]
        assert {"server auth", "client auth"} <= set(spec["usages"])
        assert spec["privateKey"]["rotationPolicy"] == "Always"


@pytest.mark.parametrize("workload", WORKLOADS, ids=workload_id)
def test_what_it_mounts_is_made_by_somebody(workload: Workload) -> None:
    secrets = {c.content["spec"]["secretName"] for c in of_kind("Certificate")}
    secrets |= {secret.content["spec"]["target"]["name"] for secret in of_kind("ExternalSecret")}
    claims = {claim.name for claim in of_kind("PersistentVolumeClaim")}
    for volume in workload.spec["volumes"]:
        assert volume.keys() & {"secret", "persistentVolumeClaim", "emptyDir"}
        assert volume.get("secret", {}).get("secretName") in {None, *secrets}
        assert volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}
    mounted = {mount["name"] for mount in workload.container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in workload.spec["volumes"]}


@pytest.mark.parametrize(
    "file", sorted(FOLDER.rglob("*.yaml")), ids=lambda file: str(file.relative_to(FOLDER))
)
def test_every_variable_is_a_setting(file: Path) -> None:
    assert unknown_settings(file.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize("process", SERVED)
@pytest.mark.parametrize("overlay", WITH_SETTINGS)
def test_its_process_takes_its_settings(
    overlay: str, process: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables of the manifests with those of the overlay's patches, and a file for each secret."""
    folder = FOLDER / "overlays" / overlay
    (pool,) = (
        part
        for part in (FOLDER / "pools").iterdir()
        if f"/{part.name}" in (folder / "kustomization.yaml").read_text()
    )
    variables: dict[str, str] = {}
    for manifest in [
        *manifests(folder.relative_to(FOLDER)),
        *patches(folder.relative_to(FOLDER)),
        *patches(pool.relative_to(FOLDER)),
    ]:
        spec = manifest.content.get("spec", {})
        template = spec.get("template") or spec.get("leaderWorkerTemplate", {}).get("leaderTemplate", {})
        for container in template.get("spec", {}).get("containers", []):
            if container["name"] == process:
                variables |= {entry["name"]: entry["value"] for entry in container.get("env", [])}
    for secret in of_kind("ExternalSecret"):
        if secret.name == f"{process}-settings":
            for entry in secret.content["spec"]["data"]:
                kind = (
                    "postgresql+asyncpg://u:p@h/d?ssl=verify-full"
                    if "DATABASE" in entry["secretKey"]
                    else "rediss://h/0"
                )
                (tmp_path / entry["secretKey"]).write_text(kind)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("/run/secrets/parley", str(tmp_path)))
    module, settings = PROCESS_SETTINGS[f"PARLEY_{process.upper()}_"]
    load(getattr(__import__(module, fromlist=[settings]), settings))


@pytest.mark.parametrize("scaled", of_kind("ScaledObject"), ids=str)
def test_it_grows_by_a_metric_that_there_is(scaled: Manifest) -> None:
    sources = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "services" / "inference").rglob("*.py")
    )
    queries = [trigger["metadata"]["query"] for trigger in scaled.content["spec"]["triggers"]]
    queries += [
        trigger["metadata"]["query"]
        for folder in kustomizations()
        for patch in patches(folder)
        if patch.kind == "ScaledObject"
        for trigger in patch.content["spec"].get("triggers", [])
    ]
    names = {name for query in queries for name in re.findall(r"parley_\w+", query)}
    assert names
    assert all(f'"{name}"' in sources for name in names)
