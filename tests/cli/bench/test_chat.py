import json
import os
from collections.abc import AsyncIterator

import pytest

from cli.bench.cache import Answered, figures_of
from cli.bench.load import Chunk, Comparison, Round, measure, percentile
from cli.bench.prompts import bench_question
from cli.failures import CommandError
from parley.inference.v1 import chat_pb2
from tests.cli.conftest import Run


async def three_tokens(number: int) -> AsyncIterator[Chunk]:
    yield Chunk(1)
    yield Chunk(2)
    yield Chunk(number, is_text=False)


async def test_a_round_counts_tokens_and_times_of_every_stream() -> None:
    done = await measure(4, three_tokens)
    assert done.tokens == 4 * 3 + 0 + 1 + 2 + 3
    assert (len(done.first_seconds), len(done.gap_seconds)) == (4, 4)
    assert done.tokens_per_second > 0
    assert Round.from_fields(json.loads(json.dumps(done.fields()))) == done


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile(range(100), 0.99) == 99
    assert percentile([], 0.5) == 0.0


def rounds(*rates: float) -> list[Round]:
    return [Round(2, tokens=int(rate), seconds=1, first_seconds=[0.01, 0.02]) for rate in rates]


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    figures = Comparison(engine=rounds(100, 100, 50), path=rounds(90, 10, 50)).fields()
    assert figures["ratio"] == 0.9
    assert figures["ratios"] == [0.9, 0.1, 1.0]
    assert figures["engine"]["tokens_per_second"] == 100
    assert figures["engine"]["ttft_p99_ms"] == pytest.approx(20)
    assert figures["engine"]["tokens_per_stream"] == pytest.approx(250 / 3 / 2, abs=1)


def test_the_server_has_a_ratio_of_its_own_where_it_ran() -> None:
    sides = {"engine": rounds(100, 100, 100), "path": rounds(90, 80, 50)}
    assert "server" not in Comparison(**sides).fields()
    figures = Comparison(**sides, server=rounds(60, 40, 50)).fields()
    assert (figures["ratio"], figures["ratio_to_server"]) == (0.8, 1.5)
    assert figures["server"]["tokens_per_second"] == 50


def test_every_stream_has_a_question_of_its_own() -> None:
    assert len({bench_question(number) for number in range(1000)}) == 1000


def test_streams_that_are_no_numbers_are_refused(alone: Run) -> None:
    for text in ("x", "", "0", "1,-2"):
        result = alone("bench", "chat", "--streams", text)
        assert result.exit_code == 1
        assert "are no numbers above 0" in result.stderr


def test_a_model_that_is_not_here_is_refused(alone: Run) -> None:
    assert "needs the model in a folder" in alone("bench", "chat", "--model", "org/name").stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_bench_compares_both_sides(alone: Run) -> None:
    result = alone(
        *("bench", "chat", "--streams", "2", "--rounds", "1", "--tokens", "8", "--no-server", "--json"),
        PARLEY_PASS_VARIABLES=os.environ.get("PARLEY_PASS_VARIABLES", ""),
    )
    assert result.exit_code == 0, result.output
    (comparison,) = json.loads(result.stdout)["comparisons"]
    assert comparison["engine"]["tokens_per_stream"] == comparison["path"]["tokens_per_stream"] == 8
    assert comparison["ratio"] > 0


def test_the_figures_of_the_cache_are_those_of_hits_alone() -> None:
    miss, hit = chat_pb2.CACHE_STATE_MISS, chat_pb2.CACHE_STATE_HIT
    again = [Answered(hit, 1, 2), Answered(hit, 2, 3), Answered(miss, 90, 100)]
    figures = {figure.name: figure for figure in figures_of([Answered(miss, 90, 100)], again, 64)}
    assert figures["answers from the cache, of 3 asked again"].value == 2
    assert figures["64 tokens generated, p50"].value == 100
    assert figures["from the cache, all 64 tokens, p99"].value == 3
    with pytest.raises(CommandError, match="No answer came from the cache"):
        figures_of([], [Answered(miss, 1, 1)], 64)
