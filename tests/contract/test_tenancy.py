"""Every method that names something of a tenant has a test that names another tenant's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from services.auth.descriptors import CONTRACTS
from tests.auth.test_tenancy import METHODS, REACHING

ROOT = Path(__file__).parents[2]
CONVERSATIONS = "tests/inference/conversations/test_service.py::test_nobody_else_sees_or_changes_it"
CONTINUED = "tests/inference/conversations/test_continuing.py::test_nobody_goes_on_with_somebody_elses"
FILES = "tests/tools/test_workspace_service.py::test_nobody_sees_another_s_files"
ANSWERS = "tests/inference/test_answers.py::test_nobody_approves_or_answers_for_another"
QUOTAS = "tests/auth/test_quotas.py::test_a_subject_of_nobody_or_of_another_tenant_is_not_found"
USAGE = "tests/auth/usage/test_servicer.py::test_who_may_sees_the_tenant_s_and_no_other"
ROLLOUTS = (
    "tests/inference/rollouts/test_service.py::test_another_tenant_sees_nothing_and_is_answered_by_nothing"
)
SERVERS = "tests/tools/mcp/test_servers.py::test_another_tenants_server_is_not_found"
FILTERS = "tests/auth/test_tenancy.py::test_filters_by_what_is_in_another_tenant_find_nothing"
REACH = "tests/auth/test_tenancy.py::test_no_filter_reaches_into_another_tenant"
WALK = "tests/auth/test_tenancy.py::test_every_method_with_an_id_finds_nothing_in_another_tenant"

# By method, or by service where one test walks its methods.
CROSSED = {
    "AuditService": FILTERS,
    "ConversationService": CONVERSATIONS,
    "InferenceService.Cancel": "tests/inference/test_servicer.py::test_only_its_owner_can_cancel_a_run",
    "InferenceService.Chat": CONTINUED,
    "InferenceService.Converse": CONTINUED,
    "InferenceService.DecideApproval": ANSWERS,
    "InferenceService.Resume": "tests/inference/test_resumption.py::test_only_its_owner_reads_a_run",
    "InferenceService.SubmitToolResult": ANSWERS,
    "McpService": SERVERS,
    "QuotaService": QUOTAS,
    "RolloutService": ROLLOUTS,
    "ToolService.Execute": FILES,
    "ToolService.ExecuteMany": FILES,
    "ToolService.GetStats": "tests/tools/test_call_statistics.py::test_a_tenant_sees_only_its_own",
    "UsageService": USAGE,
    "WorkspaceService": FILES,
    **dict.fromkeys(REACHING, REACH),
    **{name: WALK for name, _, _ in METHODS},
}
# Called like names, and of no tenant: repeats, a run's own calls and messages, tokens of a model.
OWN = re.compile(r"^(request|event|call|tool_call|message|after_message)_id$|token_ids$")
NOBODYS = {
    "AuditService.RecordEvents": "told by services of the mesh alone",
    "InferenceService.CountTokens": "names tools that the request itself brings",
    "InferenceService.GetModel": "models are the platform's",
    "InferenceService.Tokenize": "names tools that the request itself brings",
    "RoleService.CreateRole": "gives a name",
    "TenantService.CreateTenant": "gives a name",
    "ToolService.GetTool": "tools are the platform's; those of MCP servers are the tenant's, as McpService's",
}


def naming(descriptor: Descriptor, depth: int = 4) -> Iterator[FieldDescriptor]:
    """The fields of a request that name something."""
    for field in descriptor.fields:
        if (field.name == "name" or field.name.endswith(("_id", "_ids"))) and not OWN.search(field.name):
            yield field
        inner = field.message_type
        if depth and inner is not None and inner.full_name.startswith("parley."):
            yield from naming(inner, depth - 1)


NAMING = [
    method
    for contract in CONTRACTS
    if contract.DESCRIPTOR.package.startswith("parley.")
    for service in contract.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if any(naming(method.input_type))
]


@pytest.mark.parametrize(
    "method", NAMING, ids=lambda method: f"{method.containing_service.name}.{method.name}"
)
def test_a_method_that_names_something_is_tried_with_another_tenants(method: MethodDescriptor) -> None:
    service = method.containing_service.name
    name = f"{service}.{method.name}"
    if NOBODYS.get(name):
        return
    path, test = (CROSSED.get(name) or CROSSED[service]).split("::")
    source = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {test}\(", source, re.MULTILINE)
    assert "tenant" in source or "stranger" in source


def test_what_is_nobodys_is_still_there() -> None:
    names = {f"{method.containing_service.name}.{method.name}" for method in NAMING}
    assert names >= NOBODYS.keys()
