"""Parley's dashboards for Grafana, and the command that writes them.

Usage: python -m deploy.observability.dashboards [--check]

`--check` writes nothing and exits 1 where a committed file differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploy.observability.grafana import Dashboard, Panel, Query

FOLDER = Path(__file__).with_name("dashboards")


def rate(metric: str, *by: str, matching: str = "") -> str:
    """How often something happens a second, by these labels."""
    return f"sum by ({', '.join(by)}) (rate({metric}{matching}[$__rate_interval]))"


def line(title: str, unit: str, expression: str, legend: str) -> Panel:
    """A panel of one query."""
    return Panel(title, unit, (Query(expression, legend),))


def often(title: str, counter: str, by: str) -> Panel:
    """How often something happens a second, by a label."""
    return line(title, "reqps", rate(counter, by), f"{{{{{by}}}}}")


def now(title: str, unit: str, gauge: str, by: str) -> Panel:
    """How much of something there is, by a label."""
    return line(title, unit, f"sum by ({by}) ({gauge})", f"{{{{{by}}}}}")


def share(title: str, counter: str, part: str, by: str) -> Panel:
    """The share of a counter that its labels tell, by a label."""
    expression = f"{rate(counter, by, matching=part)} / {rate(counter, by)}"
    return line(title, "percentunit", expression, f"{{{{{by}}}}}")


def spread(title: str, histogram: str, *by: str) -> Panel:
    """The median and the slow end of a histogram of seconds."""
    labels = "".join(f"{{{{{label}}}}} " for label in by)
    buckets = rate(f"{histogram}_bucket", "le", *by)
    shares = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    return Panel(
        title,
        "s",
        tuple(Query(f"histogram_quantile({share}, {buckets})", f"{labels}{name}") for share, name in shares),
    )


OVERVIEW = Dashboard(
    "overview",
    "Parley overview",
    (
        (
            often("Calls", "parley_rpc_calls_total", "job"),
            often("Calls by status", "parley_rpc_calls_total", "code"),
        ),
        (
            often("Calls by tenant class", "parley_rpc_calls_total", "tenant_class"),
            line(
                "Tokens by tenant class",
                "short",
                rate("parley_inference_tokens_total", "tenant_class", "kind"),
                "{{tenant_class}} {{kind}}",
            ),
        ),
        (
            line("Share of failed calls", "percentunit", "parley:call_errors:ratio_rate5m", "{{job}}"),
            spread("Time of a call", "parley_rpc_call_seconds", "job"),
        ),
        (
            now("Calls that run", "short", "parley_rpc_calls_running", "job"),
            often("Requests at the edge", "envoy_cluster_upstream_rq_total", "envoy_cluster_name"),
        ),
        (
            line("Healthy replicas", "short", "envoy_cluster_membership_healthy", "{{envoy_cluster_name}}"),
            line(
                "Mesh certificates expire in",
                "s",
                "parley_tls_certificate_expiry_timestamp_seconds - time()",
                "{{job}} {{instance}}",
            ),
        ),
    ),
)

ENGINE = Dashboard(
    "engine",
    "Parley engine",
    (
        (
            spread("Time to the first token", "parley_inference_time_to_first_token_seconds", "model"),
            line(
                "Tokens",
                "short",
                rate("parley_inference_tokens_total", "model", "kind"),
                "{{model}} {{kind}}",
            ),
        ),
        (
            spread(
                "Time to the first token by tenant class",
                "parley_inference_time_to_first_token_seconds",
                "tenant_class",
            ),
        ),
        (
            now("Requests that wait", "short", "parley_inference_waiting_requests", "instance"),
            spread("Wait for a slot", "parley_inference_wait_seconds", "instance"),
        ),
        (
            often("Ends of runs", "parley_inference_runs_total", "reason"),
            spread("From cancelling to a free slot", "parley_inference_release_seconds", "reason"),
        ),
        (
            now("Requests in the engine", "short", "parley_inference_engine_running_requests", "model"),
            line(
                "KV cache in use",
                "percentunit",
                "max by (model, instance) (parley_inference_engine_kv_cache_use_ratio)",
                "{{model}} {{instance}}",
            ),
        ),
        (
            line(
                "Prompts found in the prefix cache",
                "percentunit",
                f"{rate('parley_inference_engine_prefix_hits_total', 'model')}"
                f" / {rate('parley_inference_engine_prefix_queries_total', 'model')}",
                "{{model}}",
            ),
            often("Preemptions", "parley_inference_engine_preemptions_total", "model"),
        ),
        (
            often("Turns and the cache", "parley_inference_cache_turns_total", "cache"),
            now("Kept for Resume", "bytes", "parley_inference_kept_bytes", "instance"),
        ),
    ),
)

TOOLS = Dashboard(
    "tools",
    "Parley tools",
    (
        (
            often("Calls", "parley_tool_calls_total", "tool"),
            line(
                "Calls that failed",
                "reqps",
                rate("parley_tool_calls_total", "tool", "reason", matching='{reason!=""}'),
                "{{tool}} {{reason}}",
            ),
        ),
        (
            spread("Time of a call", "parley_tool_call_seconds", "tool"),
            spread("Wait for a turn", "parley_tool_queue_seconds", "instance"),
        ),
        (
            Panel(
                "Calls now",
                "short",
                (
                    Query("sum(parley_tool_calls_running)", "running"),
                    Query("sum(parley_tool_calls_waiting)", "waiting"),
                ),
            ),
            now("Outside MCP servers", "short", "parley_mcp_servers", "state"),
        ),
    ),
)

QUOTAS = Dashboard(
    "quotas",
    "Parley quotas",
    (
        (
            often("Requests turned away", "parley_quota_refused_total", "dimension"),
            often("Requests turned away by tenant class", "parley_quota_refused_total", "tenant_class"),
        ),
        (often("Streams stopped by a budget's end", "parley_quota_stopped_total", "job"),),
        (
            line("The store of budgets answers", "short", "parley_ledger_up", "{{job}} {{instance}}"),
            spread("Time of a step of the store", "parley_ledger_step_seconds", "step"),
        ),
        (
            often("Steps that failed", "parley_ledger_failures_total", "step"),
            often("Let in without the store", "parley_quota_local_total", "job"),
        ),
        (
            often("Records of usage counted", "parley_usage_records_total", "job"),
            often("Records of usage given up", "parley_usage_lost_total", "job"),
        ),
    ),
)

ROLLOUTS = Dashboard(
    "rollouts",
    "Parley rollouts",
    (
        (
            line("Rollouts that run", "short", "max(parley_inference_rollouts_running)", "running"),
            often("Rolled back by a guardrail", "parley_inference_automatic_rollbacks_total", "reason"),
        ),
        (
            often("Runs of variants", "parley_inference_rollout_runs_total", "part"),
            share(
                "Share of runs that failed",
                "parley_inference_rollout_runs_total",
                '{outcome="failed"}',
                "part",
            ),
        ),
        (
            spread("Time to the first token", "parley_inference_rollout_first_token_seconds", "part"),
            share(
                "Share of tool calls that failed",
                "parley_inference_rollout_tool_calls_total",
                '{outcome="failed"}',
                "part",
            ),
        ),
        (often("Thumbs under answers", "parley_inference_feedback_total", "kind"),),
    ),
)

DASHBOARDS = (OVERVIEW, ENGINE, TOOLS, QUOTAS, ROLLOUTS)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args(arguments)
    made = {FOLDER / f"{dashboard.name}.json": dashboard.to_json() for dashboard in DASHBOARDS}
    if not options.check:
        for path, text in made.items():
            path.write_text(text, encoding="utf-8")
        return 0
    drifted = [path for path, text in made.items() if not path.is_file() or path.read_text() != text]
    drifted += sorted(set(FOLDER.glob("*.json")) - made.keys())
    for path in drifted:
        print(f"{path.name} is not what the code gives; run `make gen`", file=sys.stderr)
    return 1 if drifted else 0


if __name__ == "__main__":
    sys.exit(main())
