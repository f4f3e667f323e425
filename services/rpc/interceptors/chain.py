"""The order of the interceptors, and why each stands where it does."""

from __future__ import annotations

from collections.abc import Container, Mapping

from opentelemetry.trace import Tracer

from services.rpc.audit import AuditSink
from services.rpc.interceptors.access import PeerCheck, PrincipalCheck
from services.rpc.interceptors.access_log import AccessLog
from services.rpc.interceptors.around import Chain
from services.rpc.interceptors.audit import Audit, AuditAdmission
from services.rpc.interceptors.deadline import Deadline
from services.rpc.interceptors.identify import Identify
from services.rpc.interceptors.metrics import Metrics
from services.rpc.interceptors.ongoing import Ongoing
from services.rpc.interceptors.revocation import RevocationWatch
from services.rpc.interceptors.statuses import Statuses
from services.rpc.interceptors.trace import Trace
from services.rpc.interceptors.validation import Validation
from services.rpc.policies import Access
from services.rpc.revocations import Revocations
from services.rpc.verifier import Verifier


def interceptor_chain(
    table: Mapping[str, Access],
    streams: Container[str],
    verifier: Verifier,
    revocations: Revocations,
    ongoing: Ongoing,
    *,
    trust_domain: str,
    unary_deadline_seconds: float,
    audit: AuditSink | None = None,
    audit_content: bool = False,
    tracer: Tracer | None = None,
    tenant_classes: Mapping[str, str] | None = None,
) -> Chain:
    """The interceptors of a server, outermost first.

    Args:
        table: The access rules, by method.
        streams: The methods whose answer is a stream.
        verifier: Takes the callers' tokens.
        revocations: The tokens that are good no longer.
        ongoing: Knows which calls are under way.
        trust_domain: The mesh's trust domain.
        unary_deadline_seconds: Time for a unary call without a deadline.
        audit: Takes what is decided and done; None where nobody does.
        audit_content: Whether it gets requests in full, without what is redacted.
        tracer: Makes spans; None where nothing is traced.
        tenant_classes: Classes by tenant id, for metrics.
    """
    interceptors = [
        ongoing,  # outermost: a call is under way until the last of the others has let go of it
        Identify(),  # before all that logs and fails under the request id
        *([Trace(table, tracer)] if tracer is not None else []),  # before what logs, under the trace's id
        AccessLog(),  # sees every call, refused ones too, with the status they leave with
        Metrics(table),  # before the checks, so that refusals are counted
        Statuses(),  # inside those two, so that they see statuses; outside all that raises
        # inside the statuses, so that it sees reasons; outside the checks, so that it sees refusals
        *([Audit(audit, keep_content=audit_content)] if audit is not None else []),
        PeerCheck(table, trust_domain),  # cheapest refusal; unknown methods end here
        Deadline(streams, unary_deadline_seconds),  # before the first thing that can wait
        # before validation: strangers learn no rules
        PrincipalCheck(table, verifier, revocations, tenant_classes),
        RevocationWatch(revocations),  # as soon as the caller is known; around all that can wait
        Validation(),  # before the servicers, which see only valid messages
        AuditAdmission(audit, streams),  # last: whoever comes this far was let in
    ]
    return Chain(interceptors)
