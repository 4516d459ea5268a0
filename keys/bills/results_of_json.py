"""Results of JSON exports: the groups of one bucket of time, and which export they are of."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, TextIO

from keys.bills.json_pages import Element, iter_elements
from keys.bills.lines import BillError, CellError, EmptyDay, day_of, printable
from keys.models import Bill

MAX_FIELDS_SHOWN = 8
ANALYTICS_FIELDS = {"product", "claude_tag_category", "rbac_group_id", "slack_channel_id", "requests"}


@dataclass(frozen=True, slots=True)
class Result:
    """A group of a bucket, with its position for messages."""

    position: str
    day: date
    fields: dict[str, Any]

    def get(self, name: str) -> Any:
        return self.fields.get(name)

    def read(self, name: str, parse: Any, **options: Any) -> Any:
        """Parse a field; null where it is missing. Raise BillError with position and field."""
        try:
            return parse(self.fields.get(name), **options)
        except CellError as error:
            raise BillError(f"{self.position}.{name}: {error}") from error

    def part(self, name: str) -> "Result":
        """Return an object within the result; an empty one where it is missing."""
        value = self.fields.get(name) or {}
        if not isinstance(value, dict):
            raise BillError(f"{self.position}.{name}: is not an object")
        return Result(f"{self.position}.{name}", self.day, value)


def iter_results(file: TextIO) -> Iterator[Result | EmptyDay]:
    """Yield the results of all buckets, and the days of empty ones."""
    for element in iter_elements(file):
        day = _day_of(element)
        results = element.value.get("results")
        if not isinstance(results, list):
            raise BillError(f"line {element.line}: {element.position}.results: is not a list")
        yield EmptyDay(day)
        for number, fields in enumerate(results):
            position = f"line {element.line}: {element.position}.results[{number}]"
            if not isinstance(fields, dict):
                raise BillError(f"{position}: is not an object")
            yield Result(position, day, fields)


def _day_of(element: Element) -> date:
    bucket = element.value
    position = f"line {element.line}: {element.position}"
    if not isinstance(bucket, dict) or not {"starting_at", "start_time"} & bucket.keys():
        fields = ", ".join(bucket) if isinstance(bucket, dict) else "no object"
        raise BillError(f"{position}: has neither starting_at nor start_time, but {_cut(fields)}: no known export")
    name = "starting_at" if "starting_at" in bucket else "start_time"
    try:
        return day_of(bucket[name])
    except CellError as error:
        raise BillError(f"{position}.{name}: {error}") from error


def format_of(result: Result) -> Bill.Format:
    """Return the export that a result is of. Raise BillError for an unknown one."""
    fields = result.fields
    kind = fields.get("object")
    if "uncached_input_tokens" in fields:
        is_analytics = bool(ANALYTICS_FIELDS & fields.keys())
        return Bill.Format.ANALYTICS_USAGE if is_analytics else Bill.Format.ANTHROPIC_USAGE
    if "list_amount" in fields:
        return Bill.Format.ANALYTICS_COST
    if kind == "organization.costs.result" or isinstance(fields.get("amount"), dict):
        return Bill.Format.OPENAI_COSTS
    if kind == "organization.usage.completions.result" or (kind is None and "num_model_requests" in fields):
        return Bill.Format.OPENAI_USAGE
    if "amount" in fields and "currency" in fields:
        return Bill.Format.ANTHROPIC_COST
    found = f"an object {printable(str(kind))[:60]}" if kind else f"the fields {_cut(', '.join(fields))}"
    raise BillError(f"{result.position}: has {found}, which no known export has. {tried()}")


def tried() -> str:
    """Return which JSON exports are known, for messages."""
    names = [Bill.Format(each).label for each in JSON_FORMATS]
    return f"Tried: {', '.join(names)}."


JSON_FORMATS = (
    Bill.Format.ANTHROPIC_USAGE,
    Bill.Format.ANTHROPIC_COST,
    Bill.Format.ANALYTICS_USAGE,
    Bill.Format.ANALYTICS_COST,
    Bill.Format.OPENAI_USAGE,
    Bill.Format.OPENAI_COSTS,
)


def _cut(text: str) -> str:
    text = printable(text)
    return text if len(text) <= 120 else f"{text[:120]}…"
