"""The path of a request has one direction: no file calls one that is above it."""

from pytest_django import Settings

from tests.support import walks
from tests.upstream import ScriptedUpstream


def test_no_two_files_call_each_other_on_a_streamed_request(
    quiet_ledger: None, upstream: ScriptedUpstream, settings: Settings
) -> None:
    settings.CONFIG_CACHE_TTL_S = 60.0  # the walk is that of a warm process

    walk = walks.streamed_request(walks.Installation(upstream.url))

    assert {"messages_api/gateway/stream.py", "messages_api/backend/exchange.py"} <= walk.files
    assert walk.both_ways == []
