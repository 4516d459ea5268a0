"""The texts of the project use the words of its glossary."""

import pytest

from tests.support import words


def test_no_text_has_a_forbidden_word() -> None:
    found = [str(finding) for name in words.texts_to_read() for finding in words.in_file(name)]

    assert not found, "\n".join(found)


def test_every_allowed_text_exists() -> None:
    assert words.unused_allowances() == []


@pytest.mark.parametrize(
    ("name", "source", "found"),
    [
        ("keys/a.py", '"""Reject the\nlane of the request."""', ["2: lane"]),
        ("keys/a.py", "# a phrase let\n# in two lines", ["1: let in"]),
        ("keys/a.py", 'label = "Callers"\nname = "lane"', ["1: Callers"]),
        ("keys/a.py", 'raise Error(f"{name} may begin anew")', ["1: anew"]),
        ("keys/a.py", '"""The connection was refused; `lane` is a name."""', []),
        ("tests/a.py", 'send("Somebody")  # a placeholder', []),
        ("tests/a.py", "def test_whoever_calls() -> None: ...", ["1: whoever"]),
        ("keys/templates/a.html", "<p>\n{% if lane %}The <b>lane</b>{% endif %}</p>", ["2: lane"]),
        ("keys/templates/a.html", '<a href="/lane" title="Endless">x</a>', ["1: Endless"]),
        ("keys/static/a.js", 'import x from "./lane.js"; // whoever\nshow("at once");', ["1: whoever", "2: at once"]),
        ("docs/a.md", "See [the page](lane.md) of `lane`.\n\n| knocks |", ["3: knocks"]),
        ("Makefile", "run: lane ## Start a lane", ["1: lane"]),
    ],
)
def test_words_are_found_in_texts_and_not_in_code(name: str, source: str, found: list[str]) -> None:
    assert [f"{finding.line}: {finding.word}" for finding in words.in_source(name, source)] == found
