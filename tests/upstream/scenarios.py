"""Every scenario by its name, and what a call gets that asks for none."""

from collections.abc import Iterable

from . import faults_body, faults_connection, faults_stream, good
from .answers import answered, failure, models
from .calls import Call
from .scenario import PREFIX, Scenario
from .steps import Step

SCENARIOS: dict[str, Scenario] = {
    **good.SCENARIOS,
    **faults_connection.SCENARIOS,
    **faults_body.SCENARIOS,
    **faults_stream.SCENARIOS,
}


def default_script(call: Call) -> Iterable[Step]:
    """Answer as a well-behaved upstream does; the list of models names the scenarios."""
    path = call.path.partition("?")[0].rstrip("/")
    if call.method == "GET" and path.endswith("/models"):
        return models([PREFIX + name for name in SCENARIOS])(call)
    if call.method == "POST" and path.endswith("/messages/count_tokens"):
        return answered({"input_tokens": 9})
    if call.method == "POST" and path.endswith(("/chat/completions", "/messages")):
        return good.HELLO_SCRIPT(call)
    return failure(404, f"{call.method} {path} is not served here.")(call)
