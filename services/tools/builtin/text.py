"""Twenty things to do with a text: encode, decode, hash, match, and reckon with dates."""

from __future__ import annotations

from typing import Literal

import regex
from pydantic import Field, model_validator

from services.tools.builtin.dates import DateUnit, add_to_date, format_date, parse_date, seconds_between
from services.tools.builtin.patterns import MAX_PATTERN_CHARACTERS, Matcher
from services.tools.builtin.recoding import RECODE
from services.tools.catalogue import Arguments, Category, Example, SafetyLevel, ToolResult, WorkerCall, tool
from services.tools.errors import DataTooLarge, PatternInvalid

TOOL = "text_process"
MAX_TEXT_CHARACTERS = 256 * 2**10
MAX_MADE_CHARACTERS = 512 * 2**10
MAX_MATCHES = 500

Operation = Literal[
    "base64_encode",
    "base64_decode",
    "url_encode",
    "url_decode",
    "hex_encode",
    "hex_decode",
    "html_encode",
    "html_decode",
    "hash_md5",
    "hash_sha1",
    "hash_sha256",
    "hash_sha512",
    "regex_match",
    "regex_find_all",
    "regex_replace",
    "regex_split",
    "date_parse",
    "date_format",
    "date_add",
    "date_difference",
]


class TextProcessArguments(Arguments):
    """What `text_process` takes."""

    operation: Operation = Field(description="What to do.", examples=["regex_find_all"])
    text: str = Field(
        max_length=MAX_TEXT_CHARACTERS,
        description="The text; for date operations a date such as 2026-11-23T15:04:05+01:00 or 23 Nov 2026.",
        examples=["ada@example.org, bo@example.org"],
    )
    pattern: str | None = Field(
        None,
        max_length=MAX_PATTERN_CHARACTERS,
        description="Regular expression, for the regex operations.",
        examples=[r"(\w+)@"],
    )
    replacement: str = Field(
        "",
        max_length=MAX_PATTERN_CHARACTERS,
        description="For regex_replace; \\1 and \\g<name> stand for groups.",
    )
    ignore_case: bool = Field(False, description="Whether upper and lower case are the same to the pattern.")
    multiline: bool = Field(False, description="Whether ^ and $ match at every line.")
    date_format: str = Field(
        "%Y-%m-%d", max_length=100, description="For date_format, as with strftime: %Y %m %d %H %M %S %A %B …"
    )
    amount: int = Field(0, ge=-(10**6), le=10**6, description="What date_add adds, in units.")
    unit: DateUnit = Field("days", description="The unit of amount.")
    other: str = Field("", max_length=100, description="The later date, for date_difference.")

    @model_validator(mode="after")
    def _complete(self) -> TextProcessArguments:
        if self.operation.startswith("regex_") and self.pattern is None:
            raise ValueError(f"{self.operation} needs a pattern")
        if self.operation == "date_difference" and not self.other:
            raise ValueError("date_difference needs the other date")
        return self


class Match(ToolResult):
    """Where the pattern matches."""

    text: str = Field(description="What matches.")
    start: int = Field(description="Where it begins, in characters from 0.")
    groups: list[str | None] = Field(description="What the groups hold; null where one took no part.")


class TextProcessResult(ToolResult):
    """What `text_process` gives."""

    operation: Operation
    result: str | None = Field(None, description="The text that was made.")
    matches: list[Match] | None = Field(
        None, description="The first for regex_match, all for regex_find_all."
    )
    parts: list[str] | None = Field(None, description="For regex_split.")
    replaced: int | None = Field(None, description="For regex_replace: how often.")
    truncated: bool | None = Field(None, description="Whether there are more matches than are given.")
    seconds: float | None = Field(None, description="For date_difference: from text to other.")
    weekday: str | None = Field(None, description="For dates: the day's English name.")
    unix_seconds: float | None = Field(None, description="For dates: seconds since 1970-01-01T00:00:00Z.")


@tool(
    category=Category.DATA,
    safety=SafetyLevel.SAFE,
    timeout_seconds=10,
    max_output_bytes=4 * MAX_MADE_CHARACTERS,
    examples=(
        Example(
            "Decode",
            {"operation": "base64_decode", "text": "SGVsbG8="},
            {"operation": "base64_decode", "result": "Hello"},
        ),
        Example(
            "Find all names of addresses",
            {
                "operation": "regex_find_all",
                "text": "ada@example.org, bo@example.org",
                "pattern": r"(\w+)@",
            },
            {
                "operation": "regex_find_all",
                "matches": [
                    {"text": "ada@", "start": 0, "groups": ["ada"]},
                    {"text": "bo@", "start": 17, "groups": ["bo"]},
                ],
                "truncated": False,
            },
        ),
        Example(
            "The day 90 days later",
            {"operation": "date_add", "text": "2026-11-23", "amount": 90},
            {
                "operation": "date_add",
                "result": "2027-02-21T00:00:00+00:00",
                "weekday": "Sunday",
                "unix_seconds": 1803168000.0,
            },
        ),
    ),
)
def text_process(arguments: TextProcessArguments, _call: WorkerCall) -> TextProcessResult:
    """Encodes, decodes and hashes text, matches regular expressions, and reckons with dates."""
    operation = arguments.operation
    if operation in RECODE:
        return TextProcessResult(operation=operation, result=RECODE[operation](arguments.text, TOOL))
    if operation.startswith("date_"):
        return _date(arguments)
    return _regex(arguments)


def _date(arguments: TextProcessArguments) -> TextProcessResult:
    moment = parse_date(arguments.text, TOOL)
    result = None
    match arguments.operation:
        case "date_difference":
            seconds = seconds_between(moment, parse_date(arguments.other, TOOL))
            return TextProcessResult(operation=arguments.operation, seconds=seconds)
        case "date_add":
            moment = add_to_date(moment, arguments.amount, arguments.unit, TOOL)
        case "date_format":
            result = format_date(moment, arguments.date_format, TOOL)
    return TextProcessResult(
        operation=arguments.operation,
        result=moment.isoformat() if result is None else result,
        weekday=f"{moment:%A}",
        unix_seconds=moment.timestamp(),
    )


def _regex(arguments: TextProcessArguments) -> TextProcessResult:
    flags = (regex.IGNORECASE if arguments.ignore_case else 0) | (
        regex.MULTILINE if arguments.multiline else 0
    )
    matcher = Matcher(arguments.pattern or "", TOOL, flags=flags)
    operation, text = arguments.operation, arguments.text
    match operation:
        case "regex_match":
            found = matcher.search(text)
            return TextProcessResult(operation=operation, matches=_matches([found] if found else []))
        case "regex_find_all":
            matches, more = matcher.find(text, MAX_MATCHES)
            return TextProcessResult(operation=operation, matches=_matches(matches), truncated=more)
        case "regex_split":
            matches, more = matcher.find(text, MAX_MATCHES)
            return TextProcessResult(operation=operation, parts=_parts(text, matches), truncated=more)
    return _replace(matcher, arguments)


def _matches(found: list[regex.Match[str]]) -> list[Match]:
    """What matches; groups may hold the same text over and over, so their sizes are looked at first."""
    size = sum(end - start for each in found for start, end in each.regs)
    if size > MAX_MADE_CHARACTERS:
        raise DataTooLarge(TOOL, f"at most {MAX_MADE_CHARACTERS} characters of matches and groups")
    return [Match(text=each.group(), start=each.start(), groups=list(each.groups())) for each in found]


def _parts(text: str, matches: list[regex.Match[str]]) -> list[str]:
    starts = [0, *(match.end() for match in matches)]
    ends = [*(match.start() for match in matches), len(text)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def _replace(matcher: Matcher, arguments: TextProcessArguments) -> TextProcessResult:
    made: list[str] = []
    size, done, count = 0, 0, 0
    for found in matcher.each(arguments.text):
        try:
            new = found.expand(arguments.replacement)
        except (regex.error, IndexError) as error:
            raise PatternInvalid(TOOL, f"in the replacement {error}") from None
        made += [arguments.text[done : found.start()], new]
        size += found.start() - done + len(new)
        done, count = found.end(), count + 1
        if size > MAX_MADE_CHARACTERS:
            raise DataTooLarge(TOOL, f"at most {MAX_MADE_CHARACTERS} characters of output")
    made.append(arguments.text[done:])
    return TextProcessResult(operation=arguments.operation, result="".join(made), replaced=count)


TOOLS = (text_process,)
