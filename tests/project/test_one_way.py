"""The path of a request has one direction: no file calls one that is above it."""

from pytest_django import Settings

from tests.support import walks
from tests.upstream import ScriptedUpstream


def test_no_two_files_call_each_other(
    quiet_ledger: None, static_files: None, upstream: ScriptedUpstream, settings: Settings
) -> None:
    settings.CONFIG_CACHE_TTL_S = 60.0  # the walks are those of a warm process
    installation = walks.Installation(upstream.url)

    walked = {name: walk_of(installation) for name, walk_of in walks.WALKS.items()}

    entered = set().union(*(walk.files for walk in walked.values()))
    assert {"messages_api/backend/exchange.py", "keys/pages/issue.py", "keys/reports/totals.py"} <= entered
    assert {name: walk.both_ways for name, walk in walked.items()} == {name: [] for name in walks.WALKS}
