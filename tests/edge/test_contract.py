"""What is read from the descriptors."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2, descriptor_pool

from deploy.envoy.contract import DESCRIPTORS, HttpBinding, load_contract, with_error_details
from services.auth.descriptors import CONTRACTS
from services.rpc.policies import FOREIGN, PolicyMissing, access_table

CONTRACT = load_contract()
OURS = [
    f"{module.DESCRIPTOR.package}.{name}"
    for module in CONTRACTS
    for name in module.DESCRIPTOR.services_by_name
]


def test_every_method_that_the_edge_may_call_is_served() -> None:
    table = access_table([*OURS, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"])
    served = {method.path for method in CONTRACT.methods if ".reflection.v1." not in method.path}
    assert served == {path for path, access in table.items() if "edge" in access.peers}


def test_the_rules_are_those_that_services_enforce() -> None:
    table = access_table(OURS)
    for method in CONTRACT.methods:
        rule = table.get(method.path) or FOREIGN[method.service]
        assert method.needs_token == rule.needs_token, method.path


def test_shapes_bindings_and_idempotency() -> None:
    chat = CONTRACT.method("parley.inference.v1.InferenceService.Chat")
    assert (chat.streams, chat.idempotent, chat.bindings) == (
        True,
        False,
        (HttpBinding("POST", "/api/v1/chat"),),
    )
    keys = CONTRACT.method("parley.auth.v1.SessionService.GetJwks")
    assert (keys.streams, keys.idempotent, keys.needs_token) == (False, True, False)
    cancel = CONTRACT.method("parley.inference.v1.InferenceService.Cancel")
    assert cancel.idempotent
    assert CONTRACT.method("parley.tools.v1.ToolService.ExecuteMany").bindings == ()


def test_an_unknown_method_is_none() -> None:
    with pytest.raises(KeyError):
        CONTRACT.method("parley.auth.v1.SessionService.None")


def test_the_descriptor_set_can_decode_error_details() -> None:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(CONTRACT.descriptor_set).file:
        pool.Add(file)
    for name in ("google.rpc.ErrorInfo", "parley.inference.v1.ChatRequest"):
        assert pool.FindMessageTypeByName(name).full_name == name


def test_error_details_are_added_once() -> None:
    once = with_error_details(descriptor_pb2.FileDescriptorSet())
    assert with_error_details(once) == once


def test_a_method_without_access_rule_stops_the_rendering(tmp_path: Path) -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    for file in files.file:
        for service in file.service:
            if service.name == "ToolService":
                service.method[0].ClearField("options")
    path = tmp_path / "descriptors.binpb"
    path.write_bytes(files.SerializeToString())
    with pytest.raises(PolicyMissing, match="ListTools"):
        load_contract(path)


def test_custom_verbs_and_further_bindings_are_read(tmp_path: Path) -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    rule = _rule_of(files, "WhoAmI")
    rule.custom.kind, rule.custom.path = "HEAD", "/api/v1/me"
    rule.additional_bindings.add().get = "/api/v1/whoami"
    path = tmp_path / "descriptors.binpb"
    path.write_bytes(files.SerializeToString())
    bindings = load_contract(path).method("parley.auth.v1.SessionService.WhoAmI").bindings
    assert bindings == (HttpBinding("HEAD", "/api/v1/me"), HttpBinding("GET", "/api/v1/whoami"))


def _rule_of(files: descriptor_pb2.FileDescriptorSet, name: str) -> http_pb2.HttpRule:
    """The HTTP rule of the first method with this name."""
    methods = (method for file in files.file for service in file.service for method in service.method)
    method = next(method for method in methods if method.name == name)
    rule: http_pb2.HttpRule = method.options.Extensions[annotations_pb2.http]
    return rule
