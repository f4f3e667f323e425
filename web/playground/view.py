"""What came of a call in the playground, as HTML."""

from __future__ import annotations

from html import escape

from web.card import CallState, card, outcome, progress, seconds, section
from web.playground.trial import Trial

NOTHING = (
    '<div class="a-empty"><h2>Nothing was called yet</h2>'
    "<p>What the tool does appears here as it happens.</p></div>"
)


def trial_html(trial: Trial) -> str:
    """A call as far as it came."""
    return card(
        trial.tool,
        trial.state,
        trial.seconds,
        _queue(trial),
        progress(trial.state, trial.fraction, trial.message),
        _output(trial),
        outcome(trial.result, trial.error),
        _ending(trial),
    )


def _queue(trial: Trial) -> str:
    """That it waits for its turn, or how long it did where that was worth a word."""
    if trial.state is CallState.QUEUED:
        return section("Queue", "Waiting for its turn.")
    waited = trial.waited_seconds
    return section("Queue", f"Waited {seconds(waited)}.") if waited and waited >= 0.1 else ""


def _output(trial: Trial) -> str:
    if not trial.output:
        return ""
    older = f'<p class="p-more">{trial.left_out:,} earlier characters</p>' if trial.left_out else ""
    return section("Output", f'{older}<pre class="p-code p-output"><code>{escape(trial.output)}</code></pre>')


def _ending(trial: Trial) -> str:
    if trial.state is CallState.STOPPED:
        return section("Cancelled", "The call was ended, and the tool with it.")
    return section("Repeated", "The result of an earlier call.") if trial.replayed else ""
