"""All scenarios by name, and the default script."""

from collections.abc import Iterable

from . import faults_body, faults_connection, faults_stream, well_behaved
from .request_log import RecordedRequest
from .responses import body_response, failure, models
from .scenario import PREFIX, Scenario
from .steps import Step

SCENARIOS: dict[str, Scenario] = {
    **well_behaved.SCENARIOS,
    **faults_connection.SCENARIOS,
    **faults_body.SCENARIOS,
    **faults_stream.SCENARIOS,
}


def default_script(request: RecordedRequest) -> Iterable[Step]:
    """Respond without faults. The list of models has the names of the scenarios."""
    path = request.path.partition("?")[0].rstrip("/")
    if request.method == "GET" and path.endswith("/models"):
        return models([PREFIX + name for name in SCENARIOS])(request)
    if request.method == "POST" and path.endswith("/messages/count_tokens"):
        return body_response({"input_tokens": 9})
    if request.method == "POST" and path.endswith(("/chat/completions", "/messages")):
        return well_behaved.HELLO_SCRIPT(request)
    return failure(404, f"{request.method} {path} is not supported here.")(request)
