"""The rows of the catalog that the body alone decides. `test_bad_inputs` replays all rows over HTTP."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from messages_api.errors import RequestError
from messages_api.intake import body

ROWS = Path(__file__).parent / "bad_inputs" / "rows.jsonl"

DECIDED_BY_BODY = re.compile(r"(json|model|max_tokens|messages|field|override|image|accept|ct)_")

REPEAT = re.compile(r"\{\{REP:(.*?):(\d+)\}\}", re.DOTALL)
MEMBERS = re.compile(r"\{\{GEN:keys:(\d+)\}\}")


def expand(text: str) -> str:
    text = text.replace("{{MODEL}}", "claude-test")
    text = MEMBERS.sub(lambda match: ",".join(f'"k{i}":1' for i in range(int(match[1]))), text)
    return REPEAT.sub(lambda match: match[1] * int(match[2]), text)


def body_of(row: dict[str, Any]) -> bytes:
    if isinstance(row["body"], str):
        return expand(row["body"]).encode("latin-1")
    return expand(json.dumps(row["body"])).encode()


def cases():
    for line in ROWS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if not DECIDED_BY_BODY.match(row["name"]):
            continue
        statuses = row["expect_status"] if isinstance(row["expect_status"], list) else [row["expect_status"]]
        mentions = row["expect"].get("mentions", [])
        yield pytest.param(row, True, statuses, mentions, id=row["name"])
        if row.get("anthropic") is True:
            yield pytest.param(row, False, statuses, mentions, id=f"{row['name']}@anthropic")
        elif row.get("anthropic"):
            yield pytest.param(row, False, [row["anthropic"]], [], id=f"{row['name']}@anthropic")


@pytest.mark.parametrize("row, strict, statuses, mentions", list(cases()))
def test_the_body_of_a_row_is_accepted_or_rejected_as_expected(row, strict, statuses, mentions):
    raw = body_of(row)

    try:
        request = body.parse(raw, strict=strict)
    except RequestError as error:
        text = f"{error.message} {error.param}"
        assert error.status in statuses
        assert [word for word in mentions if not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.I)] == []
        return

    assert {200, 404} & set(statuses)  # 404: no route for the model, which is not checked here
    assert request == json.loads(raw)
