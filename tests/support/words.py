"""Find words outside the glossary in the texts that users and developers read.

`python -m tests.support.words [path...]` prints `file:line: word -> term` for each of them.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from tests.support import ROOT

TOOL_CALLS = ("messages_api/backend/protocol", "tests/messages_api/backend/protocol", "docs/dialects.md")
"""In these paths a call is a tool call, and a refusal is the model's."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A forbidden pattern, the term to write, and the paths in which the words have another meaning."""

    pattern: str  # a space stands for any white space
    term: str
    except_in: tuple[str, ...] = ()
    only_in: tuple[str, ...] = ()

    def applies_to(self, name: str) -> bool:
        if self.only_in and not name.startswith(self.only_in):
            return False
        return not (self.except_in and name.startswith(self.except_in))


@dataclass(frozen=True, slots=True)
class Allowed:
    """A legitimate use: every match in a text of `path` that contains `text`."""

    path: str
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text and the lines of the file that it comes from."""

    first_line: int
    last_line: int
    content: str


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    path: str
    line: int
    word: str
    term: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word} -> {self.term}"


_BEFORE_ONE = (
    "a|an|the|each|every|this|that|one|no|per|its|their|any|new|first|last|next|other|another|plain|streamed|running|"
    "open|failed|real|single|long|abandoned|settled"
)
_BEFORE_MANY = (
    "the|these|those|its|their|no|of|per|all|many|few|fewer|more|most|some|such|new|first|last|latest|next|other|plain|"
    "streamed|running|open|failed|real|long|abandoned|settled|admitted|two|three|[0-9,]+|both|between|while"
)

RULES = (
    # Requests
    Rule(rf"(?:{_BEFORE_ONE}) call\b(?!-| (?:to|back|sites?|stack)\b)", "request", TOOL_CALLS),
    Rule(rf"(?:(?:{_BEFORE_MANY}) |\A)calls\b(?!-| (?:to|the|back|it|on)\b)", "request", TOOL_CALLS),
    Rule(
        r"(?<!IP )(?<!mail )(?<!MAC )(?<!listen )(?<!bind )(?<!network )(?<!memory )address(?:es)?", "IP address, URL"
    ),
    Rule(r"API calls?", "request"),
    Rule(r"callers?", "client"),
    Rule(r"answer(?:s|ed|ing)?", "response, respond"),
    Rule(r"le(?:t|ts|tting) (?:\w+ )?in\b(?!-| (?:the|a|this|any|case|flight)\b)", "admit"),
    Rule(r"(?:the )?(?:door|way in)", "admission"),
    Rule(r"pass(?:es|ed)? (?:through )?the gate", "admit"),
    Rule(
        r"(?<!connection )(?<!connections )(?<!connection was )(?<!connection is )(?<!connections are )"
        r"refus(?:e|es|ed|ing)(?! (?:the |a |all |new |any )?connections?)",
        "rejected, reject",
    ),
    Rule(
        r"refusals?",
        "rejection",
        (
            *TOOL_CALLS,
            "docs/money.md",
            "docs/pricing.md",
            "keys/models/usage.py",
            "keys/bills",
            "keys/pricing",
            "tests/keys/bills",
            "tests/keys/pricing",
            "messages_api/gateway",
            "messages_api/apis",
            "messages_api/openapi",
            "tests/messages_api",
            "tests/faults",
            "tests/clients",
            "tests/upstream",
        ),
    ),
    Rule(r"turn(?:s|ed|ing)? (?:\w+ )?away|held back|hold(?:s|ing)? back", "reject, delay"),
    Rule(r"left by|(?:has|have|had|having) left|left alone|leavers?", "client disconnected"),
    Rule(
        r"(?:clients?|readers?|apps?|browsers?|who|that) (?:has |have |had )?(?:leaves?|left|leaving)\b"
        r"(?! (?:it|the|out|a|no|of|behind|to|in|open|un))",
        "client disconnects",
    ),
    Rule(r"clients? (?:\w+ )?stall(?:s|ed|ing)?|reads? nothing", "client timed out"),
    Rule(
        r"(?:read|reads|reading) on\b(?= ?(?:[.,;:)]|after\b|to the\b|to its\b|when\b|until\b|$))", "detached request"
    ),
    Rule(r"honest(?:ly)?", "graceful"),
    Rule(r"last word|out of time", "drain"),
    Rule(r"(?:\w+-)?lanes?", "API, API format"),
    Rule(r"(?<!embedded )model servers?", "upstream"),
    Rule(r"vendors?", "provider"),
    # Keys
    Rule(r"holders?", "owner"),
    Rule(r"belong(?:s|ed|ing)? to", "owner, part of"),
    Rule(r"answer(?:s|ing)? for", "owner"),
    Rule(r"people|persons?", "user, operator, admin"),
    Rule(r"for good", "permanently, revoke"),
    Rule(r"br(?:ing|ings|ought|inging) (?:\w+ )?(?:back|home)", "enable, replay"),
    Rule(r"(?:let|lets) (?:\w+ )?be\b", "wait, keep"),
    Rule(r"endless(?:ly)?|without an end|without end", "never expires, no expiry", ("messages_api", "tests", "lib")),
    Rule(r"lately", "recently, last used"),
    Rule(r"still tried|(?:try|tries|tried|trying) (?:out )?keys", "used after deactivation, invalid key attempts"),
    Rule(r"knock(?:s|ed|ing)?", "probe, rejected use"),
    Rule(r"looked at|look(?:s|ing)? after", "check, read"),
    Rule(r"grades?", "severity"),
    Rule(r"second[- ]factors?", "two-factor authentication, 2FA"),
    # Limits, budgets, money
    Rule(r"(?:requests?|tokens?|calls?|times|[0-9,]+) a (?:second|minute|hour|day|week|month)", "per minute"),
    Rule(r"much at a time|at a time:", "rate limit"),
    Rule(r"at once", "immediately, concurrently, together"),
    Rule(
        r"(?:a|the|its|their|each|no|free|every|one|of) places?", "slot", only_in=("keys/limits", "tests/keys/limits")
    ),
    Rule(r"g(?:ive|ives|iving|ave|iven) (?:\w+ )?back", "refund, release, return"),
    Rule(r"anew", "resets, again"),
    Rule(r"(?:free|there) again", "fully replenished"),
    Rule(r"only counts?|counts? only|only counting", "shadow mode"),
    Rule(r"quotas?|allowances?", "budget"),
    Rule(r"(?:held|hold|holds|holding) (?:of|from) |held by running", "reserve, reserved"),
    Rule(r"claims?", "reservation", only_in=("keys", "docs", "README.md")),
    Rule(
        r"left of|nothing (?:is )?left|none (?:is )?left|what is left|(?:is|are) left(?=\s?[.,;:)]| of\b|$)",
        "remaining",
    ),
    Rule(r"warns? at", "alert threshold"),
    Rule(r"for now", "temporary increase, currently"),
    Rule(r"(?<!-)stands?\b(?! for\b)(?!-)|stood", "is"),
    Rule(r"what (?:\w+ ){1,3}(?:comes?|came) to", "cost"),
    Rule(r"how sure", "usage source"),
    Rule(r"(?<!price )books?|in the house", "ledger"),
    Rule(r"waits? on the disk", "spooled"),
    # Upstreams
    Rule(r"(?:is|are|was|were|be|been) asked (?:first|next|again|when|before|after|in turn|about)", "attempt, tried"),
    Rule(r"fall-?backs?\b(?<!fallback)(?<!fallbacks)|substitutes?", "fallback"),
    Rule(r"(?:let|lets|letting) (?:\w+ )?through|tak(?:e|es|ing) turns?", "circuit breaker: allow, probe"),
    Rule(r"silence", "idle timeout, no data"),
    Rule(r"patien(?:ce|t|tly)", "timeout, deadline"),
    Rule(
        r"(?:database|redis|disk|store|ledger|postgresql|server|it|they) (?:is|are|was|were|goes|went|stays|been) away",
        "unavailable",
    ),
    Rule(r"do(?:es)? not (?:tell|take it|take them)", "unavailable"),
    Rule(r"kinds? of server", "preset"),
    # Prose
    Rule(r"whoever|whatsoever|somebody|someone|nobody|anybody|everybody|no one", "name the actor"),
    Rule(r"tells?\b(?! (?:\w+ )?apart)|told|telling", "report, send, show"),
    Rule(r"glances?", "figures"),
    Rule(
        r"behaviours?|colour\w*|favour\w*|honour\w*|programmes?|catalogues?|cancelled|labelled|centre[sd]?|licences?|grey|"
        r"(?:recogn|normal|organ|author|optim|serial|initial|summar|minim|maxim)is(?:e|es|ed|ing|ation)",
        "American spelling",
    ),
)

ALLOWED: tuple[Allowed, ...] = (
    Allowed("ARCHITECTURE.md", "refusals of the model", "a model's refusal, as in `stop_reason: refusal`"),
    Allowed("CHANGELOG.md", "refusals of the model", "a model's refusal, as in `stop_reason: refusal`"),
    Allowed("messages_api/backend/protocol/overflow.py", "rate.?limit|quota", "a word in the errors of providers"),
)

_ATTRIBUTES = re.compile(
    r"""\b(?:title|alt|placeholder|value|content|aria-label|data-(?:label|title|text|confirm))="([^"]*)\""""
)
_JAVASCRIPT = re.compile(
    r"//(?P<line>[^\n]*)|/\*(?P<block>.*?)\*/"
    r"""|"(?P<double>(?:\\.|[^"\\\n])*)"|'(?P<single>(?:\\.|[^'\\\n])*)'|`(?P<template>(?:\\.|[^`\\])*)`""",
    re.DOTALL,
)
_SHELL_STRING = re.compile(r'"([^"\n]* [^"\n]*)"')


def findings(paths: list[str] | None = None) -> list[Finding]:
    """Return all forbidden words in the tracked files, or in those whose names start with one of `paths`."""
    return [finding for name in texts_to_read(paths) for finding in in_file(name)]


def texts_to_read(paths: list[str] | None = None) -> list[str]:
    """Name the tracked files that have an extractor, without migrations and this file."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [
        name
        for name in listed.split("\0")
        if name
        and (ROOT / name).is_file()
        and "/migrations/" not in name
        and name != "tests/support/words.py"
        and extractor(name) is not None
        and (not paths or name.startswith(tuple(paths)))
    ]


def in_file(name: str) -> list[Finding]:
    return in_source(name, (ROOT / name).read_text())


def in_source(name: str, source: str) -> list[Finding]:
    """Return the forbidden words in the texts of a file, in the order of its lines."""
    extract = extractor(name)
    assert extract is not None, name
    lines = source.splitlines()
    rules = [(rule, pattern) for rule, pattern in _compiled() if rule.applies_to(name)]
    found = set()
    for text in extract(source, is_test=name.startswith("tests/")):
        allowed = [use.text for use in ALLOWED if use.path == name and use.text in " ".join(text.content.split())]
        for rule, pattern in rules:
            for match in pattern.finditer(text.content):
                word = " ".join(match.group().split())
                if not any(word in use for use in allowed):
                    found.add(Finding(name, _line_of(match, text, lines), word, rule.term))
    return sorted(found)


def unused_allowances() -> list[Allowed]:
    """Return the entries of ALLOWED whose text is not in its file."""
    return [use for use in ALLOWED if not any(use.text in text for text in _texts_of(use.path))]


def _texts_of(name: str) -> list[str]:
    extract = extractor(name)
    if extract is None or not (ROOT / name).is_file():
        return []
    found = extract((ROOT / name).read_text(), is_test=name.startswith("tests/"))
    return [" ".join(text.content.split()) for text in found]


@cache
def _compiled() -> list[tuple[Rule, re.Pattern[str]]]:
    return [(rule, re.compile(_expression(rule.pattern), re.IGNORECASE | re.MULTILINE)) for rule in RULES]


def _expression(pattern: str) -> str:
    """Let a phrase break across lines, except in a lookbehind, whose width must be fixed."""
    parts = re.split(r"(\(\?<[!=][^)]*\))", pattern)
    spaced = "".join(part if part.startswith("(?<") else part.replace(" ", r"\s+") for part in parts)
    return rf"(?<![\w/.-])(?:{spaced})(?![\w/])"


def _line_of(match: re.Match[str], text: Text, lines: list[str]) -> int:
    """Find the line of a match: where the text keeps its line breaks, else the first line that has its first word."""
    guess = text.first_line + text.content.count("\n", 0, match.start())
    word = match.group().split()[0]
    for number in (guess, *range(text.first_line, text.last_line + 1)):
        if number <= len(lines) and word in lines[number - 1]:
            return number
    return guess


# ---- Extractors: from the source of a file to its texts.


class Extractor(Protocol):
    def __call__(self, source: str, *, is_test: bool) -> Iterator[Text]: ...


def extractor(name: str) -> Extractor | None:
    path = Path(name)
    if path.suffix == ".py":
        return python_texts
    if path.suffix in {".html", ".txt"} and "templates" in path.parts:
        return template_texts
    if path.suffix in {".js", ".mjs", ".css"}:
        return javascript_texts
    if path.suffix == ".md":
        return markdown_texts
    if path.suffix == ".lua":
        return lua_texts
    if path.name in {"Makefile", ".env.example", "pyproject.toml"} or path.parts[0] == ".ci":
        return hash_texts
    return None


def python_texts(source: str, *, is_test: bool) -> Iterator[Text]:
    """Comments and docstrings; of tests their names, elsewhere the strings that read like a message or a label."""
    yield from _python_comments(source)
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield Text(node.lineno, node.lineno, node.name.removeprefix("test_").replace("_", " "))
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            content = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            content = node.value
        else:
            continue
        if id(node) in documentation or (not is_test and (" " in content or re.fullmatch(r"[A-Z][a-z]+", content))):
            yield Text(node.lineno, node.end_lineno or node.lineno, _without_code(content))


def _python_comments(source: str) -> Iterator[Text]:
    comments = [
        token
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and not re.match(r"#!|#\s*(?:type:|noqa|fmt:|pragma)", token.string)
    ]
    yield from _blocks([(token.start[0], token.string.lstrip("#").strip()) for token in comments])


def template_texts(source: str, *, is_test: bool) -> Iterator[Text]:
    """Text, readable attributes, comments and quoted strings of template tags."""
    for match in re.finditer(r"\{[%{](.*?)[%}]\}", source, re.DOTALL):
        if match.group(1).strip().startswith(("load ", "url ", "extends ", "static ", "include ")):
            quoted = re.findall(r"=[\"']([^\"']* [^\"']*)[\"']", match.group(1))
        else:
            quoted = re.findall(r"[\"']([^\"']*[ A-Z][^\"']*)[\"']", match.group(1))
        line = source.count("\n", 0, match.start()) + 1
        for content in quoted:
            yield Text(line, line, content)
    plain = re.sub(r"\{[%{].*?[%}]\}", _blank("…"), source, flags=re.DOTALL)
    for match in _ATTRIBUTES.finditer(plain):
        line = plain.count("\n", 0, match.start()) + 1
        yield Text(line, line + match.group().count("\n"), match.group(1))
    plain = re.sub(r"<(script|style|code|pre)\b.*?</\1>", _blank("…"), plain, flags=re.DOTALL)
    plain = re.sub(r"</?(?:b|strong|em|i|a|span|time|abbr)\b[^>]*>", _blank(""), plain)
    plain = re.sub(r"<[^>]*>", _blank("\x00"), plain)
    line = 1
    for content in plain.split("\x00"):
        skipped = len(content) - len(content.lstrip())
        first = line + content[:skipped].count("\n")
        line += content.count("\n")
        if content.strip():
            yield Text(first, line, content.strip())


def javascript_texts(source: str, *, is_test: bool) -> Iterator[Text]:
    """Comments, and the strings with a space."""
    comments = []
    for match in _JAVASCRIPT.finditer(source):
        line = source.count("\n", 0, match.start()) + 1
        if match.lastgroup == "line":
            comments.append((line, match.group("line").strip()))
        elif match.lastgroup == "block":
            yield Text(line, line + match.group().count("\n"), match.group("block"))
        else:
            content = match.group(match.lastgroup or 0)
            if " " in content or re.fullmatch(r"[A-Z][a-z]+", content):
                yield Text(line, line + content.count("\n"), re.sub(r"\$\{[^}]*\}", "…", content))
    yield from _blocks(comments)


def markdown_texts(source: str, *, is_test: bool) -> Iterator[Text]:
    """All text but code spans and the targets of links."""
    plain = re.sub(r"\]\([^)\n]*\)", "]", _without_code(source))
    plain = re.sub(r"https?://\S+", "…", plain)
    line = 1
    for paragraph in re.split(r"(\n(?:\s*\n|(?=\s*[-|#])))", plain):
        if paragraph.strip():
            yield Text(line, line + paragraph.count("\n"), paragraph)
        line += paragraph.count("\n")


def lua_texts(source: str, *, is_test: bool) -> Iterator[Text]:
    numbered = enumerate(source.splitlines(), start=1)
    yield from _blocks([(number, line.split("--", 1)[1].strip()) for number, line in numbered if "--" in line])


def hash_texts(source: str, *, is_test: bool) -> Iterator[Text]:
    """Comments after a #, and quoted messages."""
    comments = []
    for number, line in enumerate(source.splitlines(), start=1):
        comment = re.search(r"(?:^|\s)#+(?!!)\s*(\D.*)$", line)
        if comment:
            comments.append((number, comment.group(1)))
        yield from (Text(number, number, found) for found in _SHELL_STRING.findall(line))
    yield from _blocks(comments)


def _blocks(lines: list[tuple[int, str]]) -> Iterator[Text]:
    """Join the comments of lines that follow each other, so that a phrase may break across them."""
    start = 0
    for end in range(1, len(lines) + 1):
        if end == len(lines) or lines[end][0] != lines[end - 1][0] + 1:
            content = "\n".join(content for _, content in lines[start:end])
            yield Text(lines[start][0], lines[end - 1][0], _without_code(content))
            start = end


def _without_code(text: str) -> str:
    """Blank code spans, whose names are not prose."""
    return re.sub(r"(?<!`)`(?!`)[^`]*`", _blank("…"), text)


def _blank(mark: str) -> Callable[[re.Match[str]], str]:
    """Replace a match by `mark` and its own line breaks."""
    return lambda match: mark + "\n" * match.group().count("\n")


if __name__ == "__main__":
    found = findings(sys.argv[1:])
    for finding in found:
        print(finding)
    print(f"{len(found)} forbidden words", file=sys.stderr)
    sys.exit(bool(found))
