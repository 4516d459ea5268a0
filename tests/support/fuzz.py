"""Hostile values for forms, URLs and command lines, and changes of valid forms with them. All from a seed."""

import random
from collections.abc import Iterator
from typing import Any

DEEP = 20_000
"""Levels of nesting that exceed the recursion limit of Python and of its JSON parser."""
LONG_INTEGER = "9" * 5_000
"""More digits than `int()` accepts."""

NUMBERS = (
    *(
        "-1",
        "0",
        "1",
        "2147483648",
        "-2147483649",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
    ),
    *(LONG_INTEGER, "1e308", "1e999", "-1e308", "nan", "inf", "0.1", "1.5", "1_000", "٣", "0x10", "1,2", "1e-400"),
)
TIMES = (
    *("2026-02-30", "0001-01-01", "9999-12-31", "10000-01-01", "0000-00-00", "2026-W01", "2026-01-01 24:00", "23:60"),
    *("9999-12-31 23:59:59", "0001-01-01 00:00:00", "2026-03-29 02:30", "2026-10-25 02:30:00", "now", "P9999999999D"),
)
TEXTS = (
    *("", " ", "\t\n", "a" * 5_000, "é" * 300, "🙂" * 200, "\0", "a\0b", "\x1b[31m", "\u2028", "\u202e", "\ufffe"),
    *("%", "%s%n", "{0}", "{{ 7|add:7 }}", "<script>alert(1)</script>", "' OR 1=1 --", "../../etc/passwd", "*", "**"),
    *("abc", "None", "null", "true", "on", "_", "__", "pk__in", "key_", "mgw_abcdef", "user-0", "team-999", "user-"),
)
URLS = (
    *("http://[::1", "http://[", "https://]", "http://[::1]:x", "http://host:99999", "http://host:-1", "http://\u2100"),
    *("http://[fe80::1%25eth0]/", "http://a\ud800", "//host", "http:///v1", "javascript:alert(1)", "http://user@host"),
    *("http://xn--" + "a" * 100, "http://" + "a." * 140, "http://0x7f.1", "http://[v1.a]/"),
)
JSON_TEXTS = (
    *("[" * DEEP, "[" * DEEP + "]" * DEEP, '{"a":' * DEEP, LONG_INTEGER, f'{{"max_stop": {LONG_INTEGER}}}'),
    *('{"max_stop": 1e400}', '{"max_stop": NaN}', '"\\ud800"', '{"\\ud800": 1}', '{"user_field": "\\ud800"}'),
    *("{", "[]", "{}", "0", "null", '{"": ""}', '{"a": "\\u0000"}', '{"efforts": [[[[]]]]}', '{"max_stop": -1}'),
    *('{"max_stop": 170141183460469231731687303715884105728}',),
)
VALUES = (*NUMBERS, *TIMES, *TEXTS, *URLS, *JSON_TEXTS)
LOOKUPS = (
    *("", "__exact", "__iexact", "__gt", "__gte", "__lt", "__in", "__isnull", "__range", "__contains", "__regex"),
    *("__year", "__month", "__date", "__week_day", "__time", "__hour", "__pk", "__id", "__startswith", "__nothing"),
)
PAGE_PARAMETERS = (
    *("_to_field", "_popup", "_changelist_filters", "_facets", "o", "p", "q", "all", "e", "next", "copy", "period"),
    *("start", "end", "before", "after", "state", "finding", "owner", "team", "model", "created_by", "time", "actor"),
    *("object", "type", "user", "key", "app_label", "model_name", "field_name", "term", "only", "prefix"),
)
EXTRA_FIELDS = (
    *("_selected_action", "action", "index", "select_across", "_saveasnew", "_continue", "_addanother", "_save"),
    *("_popup", "_to_field", "confirmed", "post", "check", "add_budget", "end", "do", "token", "content", "output"),
)


def value(source: random.Random) -> str:
    return source.choice(source.choice((NUMBERS, TIMES, TEXTS, URLS, JSON_TEXTS)))


def query(source: random.Random, names: list[str]) -> dict[str, Any]:
    """Return parameters for a URL: those of the admin's pages, and fields of the page's model with a lookup."""
    found: dict[str, Any] = {}
    for _ in range(source.randint(1, 3)):
        if names and source.random() < 0.6:
            path = "__".join(source.sample(names, source.choice((1, 1, 1, 2)))) if len(names) > 1 else names[0]
            name = path + source.choice(LOOKUPS)
        else:
            name = source.choice(PAGE_PARAMETERS)
        found[name] = [value(source) for _ in range(source.choice((1, 1, 1, 2)))]
    return found


def changed_form(source: random.Random, form: dict[str, Any], actions: list[str]) -> dict[str, Any]:
    """Return a form with some fields replaced, dropped, repeated or added."""
    data = dict(form)
    for _ in range(source.randint(1, 4)):
        name = source.choice([*data, *EXTRA_FIELDS, source.choice(EXTRA_FIELDS)])
        match source.randrange(8):
            case 0:
                data.pop(name, None)
            case 1:
                data[name] = [value(source), value(source)]
            case 2 if name.endswith("_FORMS"):
                data[name] = source.choice(("1000", "-1", "1", "2", "0"))
            case _:
                data[name] = value(source)
    if actions and source.random() < 0.5:
        data |= {"action": source.choice(actions), "index": "0"}
        data.setdefault("_selected_action", value(source))
    return data


def arguments(source: random.Random, options: list[str]) -> Iterator[str]:
    """Yield the words of a command line."""
    for option in source.sample(options, source.randint(0, min(4, len(options)))):
        yield option
        if source.random() < 0.8:
            yield value(source).replace("\0", "")
    for _ in range(source.choice((0, 0, 1, 2))):
        yield value(source).replace("\0", "")
