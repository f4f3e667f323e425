"""Releases by Argo Rollouts: what they refer to is there, and they are judged by what guardrails judge."""

from __future__ import annotations

import re
from pathlib import Path

import promql_parser as promql
import pytest

from parley.inference.v1 import rollout_pb2
from services.inference.rollouts.guardrails import MIN_SAMPLES, WINDOW_MINUTES
from services.inference.rollouts.samples import ENDED_FROM_OUTSIDE
from tests.deploy.manifests import KUBECTL, Tree, documents, kustomized
from tests.deploy.queries import analyses, inside, judged

OVERLAY = "progressive"
ROLLOUTS = {
    rollout["metadata"]["name"]: rollout for rollout in documents(Path("overlays", OVERLAY, "rollouts.yaml"))
}
TEMPLATES = {template["metadata"]["name"]: template for template in analyses()}
METRICS = [
    pytest.param(template, metric, id=f"{name}/{metric['name']}")
    for name, template in TEMPLATES.items()
    for metric in template["spec"]["metrics"]
]
ARGUMENT = re.compile(r"\{\{args\.([\w-]+)\}\}")


def analysis(rollout: Tree) -> Tree:
    found: Tree = rollout["spec"]["strategy"]["canary"]["analysis"]
    return found


@pytest.mark.skipif(KUBECTL is None, reason="issue 6: kubectl is not on every machine")
@pytest.mark.parametrize("name", ROLLOUTS)
def test_it_takes_the_pods_of_a_deployment_that_has_none_left(name: str) -> None:
    (deployment,) = (
        made
        for made in kustomized(OVERLAY)
        if (made["kind"], made["metadata"]["name"]) == ("Deployment", name)
    )
    spec = ROLLOUTS[name]["spec"]
    assert spec["workloadRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    assert spec["selector"] == deployment["spec"]["selector"]
    assert deployment["spec"]["replicas"] == 0


@pytest.mark.skipif(KUBECTL is None, reason="issue 6: kubectl is not on every machine")
def test_what_is_scaled_is_what_has_the_pods() -> None:
    (scaled,) = (made for made in kustomized(OVERLAY) if made["kind"] == "ScaledObject")
    target = scaled["spec"]["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"]) == ("argoproj.io/v1alpha1", "Rollout")
    assert "replicas" not in ROLLOUTS[target["name"]]["spec"], "each apply would set what KEDA chose"


@pytest.mark.parametrize("name", ROLLOUTS)
def test_it_is_judged_by_templates_that_are_there_with_all_their_arguments(name: str) -> None:
    judged_by = analysis(ROLLOUTS[name])
    given = {argument["name"] for argument in judged_by["args"]}
    for each in judged_by["templates"]:
        arguments = TEMPLATES[each["templateName"]]["spec"]["args"]
        assert {argument["name"] for argument in arguments if "value" not in argument} <= given
    (workload,) = (argument["value"] for argument in judged_by["args"] if argument["name"] == "workload")
    assert workload == name, "pods are told by their name"
    assert {"name": "release", "valueFrom": {"podTemplateHashValue": "Latest"}} in judged_by["args"]


@pytest.mark.parametrize(("template", "metric"), METRICS)
def test_a_metric_uses_no_other_arguments_and_passes_what_has_no_samples(
    template: Tree, metric: Tree
) -> None:
    named = {argument["name"] for argument in template["spec"]["args"]}
    query, condition = metric["provider"]["prometheus"]["query"], metric["successCondition"]
    assert set(ARGUMENT.findall(query + condition)) <= named
    assert re.fullmatch(
        r"len\(result\) == 0 \|\| result\[0\] [<>]= \{\{args\.(max|min)-[\w-]+\}\}", condition
    )
    assert ("]<=" if ".max-" in condition else "]>=") in condition.replace(" ", "")
    assert ">= {{args.min-samples}}" in query


def test_the_guardrails_are_all_there_over_their_window_and_by_their_number_of_samples() -> None:
    guardrails = {name.removeprefix("GUARDRAIL_") for name, number in rollout_pb2.Guardrail.items() if number}
    answers = TEMPLATES["answers"]
    assert {name.upper().replace("-", "_") for name in judged(answers)} == guardrails
    assert {"name": "min-samples", "value": str(MIN_SAMPLES)} in answers["spec"]["args"]
    for template in TEMPLATES.values():
        for query in judged(template).values():
            ranges = [part.range for part in inside(promql.parse(query), promql.MatrixSelector)]
            assert {length.total_seconds() for length in ranges} == {WINDOW_MINUTES * 60}


def test_runs_that_ended_from_outside_are_passed_over() -> None:
    (passed_over,) = re.findall(r'reason!~"([A-Z_|]+)"', judged(TEMPLATES["answers"])["error-rate"])
    assert passed_over.split("|") == sorted(reason.name for reason in ENDED_FROM_OUTSIDE)


@pytest.mark.parametrize("query", [query for each in TEMPLATES.values() for query in judged(each).values()])
def test_only_pods_of_the_release_are_judged(query: str) -> None:
    pods = set(re.findall(r'pod=~"([^"]+)"', query))
    assert len(re.findall(r"parley_\w+\{", query)) == query.count('pod=~"')
    assert pods == ({"x-.+"} if "feedback" in query else {"x-x-.+"})
