"""What was measured of variants, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator

from parley.inference.v1 import rollout_pb2

_VERDICTS = {
    rollout_pb2.FIGURE_VERDICT_BETTER: "better",
    rollout_pb2.FIGURE_VERDICT_WORSE: "worse",
    rollout_pb2.FIGURE_VERDICT_UNDECIDED: "undecided",
}
_SECONDS = (rollout_pb2.VARIANT_FIGURE_FIRST_TOKEN_MEAN, rollout_pb2.VARIANT_FIGURE_FIRST_TOKEN_P95)


def figure_rows(variant: rollout_pb2.MeasuredVariant) -> Iterator[list[object]]:
    """The figures of a variant, a row each."""
    for each in variant.figures:
        kind = each.figure
        interval = _range(kind, each.interval) if each.HasField("interval") else ""
        difference, verdict = "", ""
        if each.HasField("difference"):
            difference = (
                f"{_text(kind, each.difference.value, '+')} ({_range(kind, each.difference.interval)})"
            )
            verdict = _VERDICTS.get(each.difference.verdict, "")
        value = _text(kind, each.value)
        yield [variant.variant_name, _name(kind), value, interval, each.samples, difference, verdict]


def _name(kind: rollout_pb2.VariantFigure.ValueType) -> str:
    return rollout_pb2.VariantFigure.Name(kind).removeprefix("VARIANT_FIGURE_").lower().replace("_", " ")


def _range(kind: rollout_pb2.VariantFigure.ValueType, given: rollout_pb2.ConfidenceInterval) -> str:
    return f"{_text(kind, given.low)} … {_text(kind, given.high)}"


def _text(kind: rollout_pb2.VariantFigure.ValueType, value: float, sign: str = "") -> str:
    """A value in its unit: seconds, tokens a second, or percent."""
    if kind in _SECONDS:
        return f"{value:{sign}.3f} s"
    if kind == rollout_pb2.VARIANT_FIGURE_TOKENS_PER_SECOND:
        return f"{value:{sign}.1f}/s"
    return f"{100 * value:{sign}.1f} %"
