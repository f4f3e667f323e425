"""A small tenant for the administration's tests and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from parley.auth.v1 import (
    audit_pb2,
    audit_service_pb2,
    key_service_pb2,
    quota_pb2,
    role_service_pb2,
    usage_service_pb2,
    user_service_pb2,
)
from tests.web.scripted_auth import NOW, ScriptedAuth, ulid
from tests.web.scripted_rollouts import compared
from tests.web.scripted_status import called, served

DAY = 86_400
METHODS = (
    "/parley.inference.v1.InferenceService/Chat",
    "/parley.tools.v1.ToolService/Execute",
    "/parley.auth.v1.KeyService/CreateKey",
    "/parley.auth.v1.SessionService/Login",
)


def days_ago(days: float) -> Timestamp:
    """A time that many days before now."""
    return Timestamp(seconds=NOW.seconds - int(days * DAY))


def _user(number: int, username: str, display_name: str, *roles: str) -> user_service_pb2.User:
    kind = user_service_pb2.USER_KIND_PERSON if display_name else user_service_pb2.USER_KIND_SERVICE
    return user_service_pb2.User(
        user_id=ulid(number),
        username=username,
        display_name=display_name,
        kind=kind,
        roles=roles,
        create_time=days_ago(400 / number),
        etag=f"e{number}",
    )


def tenant() -> ScriptedAuth:
    """People, service accounts and roles, and what they did."""
    auth = ScriptedAuth()
    auth.users = [
        _user(1, "ada", "Ada Lovelace", "admin"),
        _user(2, "grace", "Grace Hopper", "operator", "user"),
        _user(3, "alan", "Alan Turing", "user"),
        _user(4, "nightly-report", "", "reporting"),
        _user(5, "katherine", "Katherine Johnson", "user"),
        _user(6, "mallory", "Mallory", "viewer"),
    ]
    auth.users[4].must_change_password = True
    auth.rollouts = [compared()]
    auth.models, auth.stats = served(), called()
    auth.users[5].disable_time.CopyFrom(days_ago(3))
    auth.roles = [
        role_service_pb2.Role(name="admin", permissions=["*"], built_in=True),
        role_service_pb2.Role(
            name="operator", permissions=["auth.audit.read", "auth.users.read", "tools.*"], built_in=True
        ),
        role_service_pb2.Role(
            name="reporting",
            description="Summaries at night",
            permissions=["inference.chat", "models.*", "tools.database.*"],
            create_time=days_ago(40),
            etag="r1",
        ),
        role_service_pb2.Role(
            name="user", permissions=["auth.keys", "inference.chat", "tools.math.*"], built_in=True
        ),
        role_service_pb2.Role(name="viewer", permissions=["inference.models", "tools.list"], built_in=True),
    ]
    auth.keys = _keys()
    auth.quotas = _quotas()
    auth.sums = list(_sums())
    auth.uses = [
        quota_pb2.QuotaUse(
            dimension=quota_pb2.QUOTA_DIMENSION_TOKENS_PER_DAY, limit=2_000_000, used=1_310_400
        ),
        quota_pb2.QuotaUse(
            dimension=quota_pb2.QUOTA_DIMENSION_COST_MICROS_PER_MONTH, limit=49_500_000, used=49_500_000
        ),
        quota_pb2.QuotaUse(dimension=quota_pb2.QUOTA_DIMENSION_REQUESTS_PER_MINUTE, limit=60, used=3),
    ]
    auth.records = [_record(sequence) for sequence in range(58, 0, -1)]
    summary = audit_service_pb2.AuditSummary(
        records=58, first_sequence=1, last_sequence=58, hash="9f" * 32, checkpoints=3, vouched_sequence=50
    )
    auth.steps = [audit_service_pb2.VerifyAuditResponse(summary=summary)]
    return auth


def _keys() -> list[key_service_pb2.Key]:
    keys = [
        key_service_pb2.Key(key_id=ulid(501), name="laptop", prefix="pk_8fK2", user_id=ulid(1)),
        key_service_pb2.Key(
            key_id=ulid(502),
            name="nightly report",
            prefix="pk_Zx91",
            user_id=ulid(4),
            scopes=["inference.chat", "tools.database.*"],
            allowed_addresses=["192.0.2.0/24"],
        ),
        key_service_pb2.Key(key_id=ulid(503), name="old phone", prefix="pk_Qq07", user_id=ulid(1)),
    ]
    for age, key in zip((12, 40, 300), keys, strict=True):
        key.create_time.CopyFrom(days_ago(age))
    keys[0].last_use_time.CopyFrom(days_ago(0.01))
    keys[0].expire_time.CopyFrom(days_ago(-7800))
    keys[2].revoke_time.CopyFrom(days_ago(2))
    return keys


def _quotas() -> list[quota_pb2.Quota]:
    quotas = [
        quota_pb2.Quota(
            subject=quota_pb2.QuotaSubject(model="parley-demo"),
            limits=quota_pb2.QuotaLimits(concurrent_streams=64),
            price=quota_pb2.TokenPrice(prompt_nanos=150, completion_nanos=600),
        ),
        quota_pb2.Quota(
            subject=quota_pb2.QuotaSubject(role="viewer"),
            limits=quota_pb2.QuotaLimits(requests_per_minute=0),
        ),
        quota_pb2.Quota(
            subject=quota_pb2.QuotaSubject(user_id=ulid(3)),
            limits=quota_pb2.QuotaLimits(
                requests_per_minute=60, tokens_per_day=2_000_000, cost_micros_per_month=49_500_000
            ),
        ),
        quota_pb2.Quota(
            subject=quota_pb2.QuotaSubject(default_user=True),
            limits=quota_pb2.QuotaLimits(tokens_per_minute=20_000, tokens_per_day=500_000),
        ),
    ]
    for quota in quotas:
        quota.update_time.CopyFrom(days_ago(9))
    return quotas


def _sums() -> Iterator[usage_service_pb2.UsageSum]:
    """30 days up to today, for the page shows those; weekends are quiet."""
    today = datetime.now(UTC).date()
    for ago in range(30):
        day = today - timedelta(days=ago)
        busy = (0.25 if day.weekday() > 4 else 1.0) * (1 + (ago * 7 % 5) / 5)
        for number, model in enumerate(("parley-demo", "gpt-oss-20b", "")):
            requests = int(busy * (160, 90, 20)[number])
            tokens = 0 if not model else requests * 730
            yield usage_service_pb2.UsageSum(
                day=day.isoformat(),
                model=model,
                user_id=ulid(1 + number),
                key_id=(ulid(501), ulid(502), "")[number],
                requests=requests,
                prompt_tokens=tokens,
                cached_prompt_tokens=tokens // 3,
                completion_tokens=tokens // 2,
                tool_calls=requests // 2,
                cost_micros=tokens * (3 - number),
            )


def _record(sequence: int) -> audit_pb2.AuditRecord:
    """A record; every seventh one is a refusal."""
    refused = sequence % 7 == 0
    event = audit_pb2.AuditEvent(
        event_id=ulid(7000 + sequence),
        time=days_ago((58 - sequence) / 24),
        stage=audit_pb2.AUDIT_STAGE_ENDED,
        method="/parley.auth.v1.UserService/DisableUser" if refused else METHODS[sequence % len(METHODS)],
        request_id=f"req-{sequence:04d}",
        client_address="192.0.2.7",
        tenant_id=ulid(9000),
        user_id=ulid(6 if refused else 1 + sequence % 3),
        decision=audit_pb2.AUDIT_DECISION_REFUSED if refused else audit_pb2.AUDIT_DECISION_ALLOWED,
        reason="PERMISSION_MISSING" if refused else "",
        code="PERMISSION_DENIED" if refused else "OK",
        resources={"user_id": ulid(1)} if refused else {"model": "parley-demo"},
        request_digest="3c" * 32,
    )
    return audit_pb2.AuditRecord(sequence=sequence, service="auth", event=event, hash=f"{sequence:02x}" * 32)
