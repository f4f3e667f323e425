import io

from rich.console import Console

from cli.local.progress import LiveProgress, PlainProgress
from cli.local.supervisor import Change, Phase


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=100, color_system=None), text


def test_a_pipe_gets_a_line_per_change() -> None:
    where, text = console(terminal=False)
    progress = PlainProgress(where)
    progress.step("certificates issued: edge")
    progress.change(Change("auth", Phase.STARTING))
    progress.remind({"auth": "listening"})
    progress.change(Change("auth", Phase.READY, seconds=1.25))
    progress.change(Change("auth", Phase.DIED, "exit status 1: [no] database; starting again in 0.5 s"))
    progress.change(Change("auth", Phase.STOPPING))
    progress.change(Change("auth", Phase.STOPPED, seconds=0.5))
    assert text.getvalue().splitlines() == [
        "certificates issued: edge",
        "auth         starting",
        "auth         ready after 1.2 s",
        "auth         died: exit status 1: [no] database; starting again in 0.5 s",
        "auth         stopped after 0.5 s",
    ]


def test_a_terminal_gets_a_table_while_it_starts_and_lines_after() -> None:
    where, text = console(terminal=True)
    with LiveProgress(where) as progress:
        progress.step("model toy")
        progress.change(Change("inference-1", Phase.STARTING))
        progress.remind({"inference-1": "loading the model"})
        progress.change(Change("store", Phase.READY, seconds=0.2))
        progress.change(Change("auth", Phase.DIED, "exit status 1"))
        table = progress.__rich__()
    assert table.row_count == 3
    shown = text.getvalue()
    assert "model toy" in shown
    assert "loading the model" in shown
    assert "died: exit status 1" in shown
    progress.change(Change("store", Phase.STOPPED, seconds=0.1))
    assert "store        stopped after 0.1 s" in text.getvalue()
