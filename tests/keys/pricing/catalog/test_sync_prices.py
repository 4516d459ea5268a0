"""`sync_prices`: what it proposes, what is applied, and nothing by halves."""

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import time_machine
from auditlog.models import LogEntry
from django.core.management import CommandError
from django.db import connection
from django.utils import timezone

from keys.models import ModelPrice, PriceModifier, UsageRecord
from keys.pricing.catalog import applying, what_if
from keys.pricing.catalog.proposals import PriceReview
from keys.pricing.rating import rate
from tests.keys.pricing.books import book
from tests.keys.pricing.books import price as book_price
from tests.keys.pricing.catalog.conftest import Sync, UseModel, only
from tests.support import ROOT
from tests.support.gateway import database_url
from tests.support.usage_rows import UsageRecorder

M = 1_000_000
START = datetime(2026, 1, 1, tzinfo=UTC)
Review = Callable[..., PriceReview]


def current(pattern: str, **fields: Any) -> ModelPrice:
    values = {"input_price": 5 * M, "output_price": 25 * M, "valid_from": START, "source": "genai-prices 0.2.0: x/y"}
    return ModelPrice.objects.create(model_pattern=pattern, **{**values, **fields})


def csv_file(folder: Path, text: str) -> str:
    path = folder / "prices.csv"
    path.write_text(text)
    return str(path)


# ---- What is proposed.


def test_a_model_without_a_price_gets_one_offline(
    use_model: UseModel, sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_model("anthropic", "claude-opus-5-5")

    def blocked(*_: Any) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", blocked)
    monkeypatch.setattr(socket, "getaddrinfo", blocked)
    sync("--apply", "--yes")

    price = ModelPrice.objects.get()
    assert (price.model_pattern, price.upstream, price.source) == (
        "claude-opus-5-5",
        "",
        "genai-prices 0.2.3: anthropic/claude-opus-5-5",
    )
    assert (price.input_price, price.output_price, price.cache_read_price) == (4 * M, 20 * M, 200_000)
    assert sorted(price.modifiers.values_list("dimension", "value", "input_factor", "output_factor")) == [
        ("service_tier", "batch", Decimal("0.5"), Decimal("0.5")),
        ("speed", "fast", Decimal(2), Decimal(2)),
    ]


def test_a_changed_price_is_shown_from_old_to_new_with_its_start(use_model: UseModel, review: Review) -> None:
    use_model("anthropic", "claude-opus-5-5")
    current("claude-opus-5-5", cache_read_price=500_000, source="genai-prices 0.2.0: anthropic/claude-opus-5-5")

    proposal = only(review())

    assert (proposal.kind, proposal.replaces_since, proposal.is_selected) == ("changed", START, True)
    assert [(each.label, each.old, each.new) for each in proposal.changes][:4] == [
        ("Input", "$5.00", "$4.00"),
        ("Output", "$25.00", "$20.00"),
        ("Cache read", "$0.50", "$0.20"),
        ("Cache write, 5 minutes", "input rate", "$5.00"),
    ]


def test_a_price_that_was_entered_by_hand_is_proposed_and_not_selected(use_model: UseModel, review: Review) -> None:
    use_model("anthropic", "claude-opus-5-5")
    current("claude-opus-5-5", source="contract of 2026")

    assert not only(review()).is_selected


def test_a_price_that_the_catalog_no_longer_has_is_named_and_stays(review: Review) -> None:
    price = current("claude-x", source="genai-prices 0.2.0: anthropic/claude-x")

    found = review()

    assert [(each.id, each.model_pattern) for each in found.gone] == [(price.pk, "claude-x")]
    assert found.proposals == ()


def test_after_an_update_there_is_nothing_to_do(use_model: UseModel, sync: Sync) -> None:
    use_model("anthropic", "claude-sonnet-4-5-20250929")

    sync("--apply", "--yes")

    assert sync() == "Source: genai-prices 0.2.3. Unchanged: 1.\nNothing to do.\n"


def test_one_price_serves_all_upstreams_of_a_provider_and_none_of_others(use_model: UseModel, review: Review) -> None:
    for upstream in ("openai", "eu"):
        use_model(upstream, "gpt-4o")
    assert [(each.model_pattern, each.upstream) for each in review().proposals] == [("gpt-4o", "")]

    use_model("local", "gpt-4o")

    found = {each.upstream: (each.is_named_only, each.is_selected) for each in review().proposals}
    assert found == {"openai": (False, True), "eu": (False, True), "local": (True, False)}


def test_a_local_model_with_the_name_of_another_keeps_its_price(use_model: UseModel, review: Review) -> None:
    use_model("local", "gpt-4o")
    current("gpt-4o", upstream="local", is_free=True, input_price=0, output_price=0, source="")

    assert review().proposals == ()


def test_an_unknown_model_is_listed_without_a_proposal(use_model: UseModel, review: Review) -> None:
    use_model("local", "smollm2")

    found = review()

    assert [(each.model, each.upstream) for each in found.unmatched] == [("smollm2", "local")]


def test_an_exact_price_is_proposed_beside_a_prefix(use_model: UseModel, review: Review) -> None:
    use_model("anthropic", "claude-opus-5-5")
    current("claude-*")

    proposal = only(review())

    assert (proposal.kind, proposal.model_pattern) == ("changed", "claude-opus-5-5")
    assert "Applies instead of the price of claude-*." in proposal.notes


def test_unpriced_models_come_first_with_their_cost(
    use_model: UseModel, recorder: UsageRecorder, review: Review
) -> None:
    use_model("anthropic", "claude-haiku-5-5")
    use_model("anthropic", "claude-opus-5-5")
    for _ in range(3):
        recorder.record(
            model="best", upstream="anthropic", upstream_model="claude-opus-5-5", input_tokens=1_000, output_tokens=100
        )

    first, second = review().proposals

    assert (first.model_pattern, first.is_unpriced) == ("claude-opus-5-5", True)
    assert (second.model_pattern, second.is_unpriced) == ("claude-haiku-5-5", False)
    assert first.what_if is not None and second.what_if is not None
    assert (first.what_if.requests, first.what_if.unpriced_before, first.what_if.unpriced_after) == (3, 3, 0)
    assert first.what_if.proposed_picos == 3 * (1_000 * 4 * M + 100 * 20 * M)
    assert second.what_if.requests == 0


def test_the_cost_of_recent_requests_is_rated_with_the_proposed_price(
    use_model: UseModel, recorder: UsageRecorder, review: Review
) -> None:
    use_model("anthropic", "claude-haiku-5-5")
    current("claude-haiku-5-5", input_price=1 * M, output_price=5 * M)
    used: dict[str, Any] = {
        "model": "h",
        "upstream": "anthropic",
        "upstream_model": "claude-haiku-5-5",
        "output_tokens": 10,
    }
    for tokens in (100_000, 100_001):  # the second one is above the threshold
        record = recorder.record(**used, input_tokens=tokens)
        UsageRecord.objects.filter(pk=record.pk).update(cost_usd_picos=tokens * M + 10 * 5 * M)
    recorder.record(model="h", upstream="anthropic", upstream_model="another", input_tokens=1, output_tokens=1)

    found = review()
    costs = only(found).what_if

    assert costs is not None
    assert (costs.requests, costs.recorded_picos) == (2, 200_001 * M + 20 * 5 * M)
    assert costs.proposed_picos == 100_000 * 100_000 + 10 * 500_000 + 5 * (100_001 * 100_000 + 10 * 500_000)
    assert (found.rated_requests, found.is_rating_complete) == (2, True)


def test_a_price_that_begins_later_is_applied_with_its_own_start(
    use_model: UseModel, sync: Sync, review: Review
) -> None:
    use_model("google", "gemini-3.6-flash")
    with time_machine.travel(datetime(2026, 11, 30, 12, tzinfo=UTC), tick=False):
        first, second = review().proposals
        assert (first.valid_from, second.valid_from) == (None, datetime(2027, 1, 1, tzinfo=UTC))
        sync("--apply", "--yes")

        assert review().proposals == ()

    starts = ModelPrice.objects.order_by("valid_from").values_list("valid_from", flat=True)
    assert list(starts) == [datetime(2026, 11, 30, 12, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)]


class Spy(dict[str, Any]):
    """A usage record that notes which of its columns are read."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.columns: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.columns.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.columns.add(name)
        return super().get(name, default)


def test_all_columns_that_rating_reads_are_read_for_the_cost(recorder: UsageRecorder) -> None:
    price = book_price(upstream="local", model_pattern="m", web_search=1, audio_input=1, audio_output=1)
    pk = recorder.record(upstream_model="m", web_searches=1, audio_input_tokens=1).pk
    record = Spy(UsageRecord.objects.filter(pk=pk).values().get())

    assert rate(record, book(price)).cost_usd_picos is not None

    assert record.columns <= set(what_if.COLUMNS)


# ---- Additions.


@pytest.mark.parametrize(
    ("upstream", "model", "rules"),
    [
        pytest.param("anthropic", "claude-opus-5-5", ["inference_geo_us"], id="geography"),
        pytest.param("anthropic", "claude-haiku-4-5", [], id="an older Claude"),
        pytest.param("deepseek", "deepseek-flash", ["weekdays"], id="hours on weekdays"),
        pytest.param("eu", "gpt-6-sol", ["region_eu", "implicit_writes", "write_12h"], id="region and writes"),
        pytest.param("openai", "gpt-6-sol", ["implicit_writes", "write_12h"], id="no region"),
        pytest.param("openai", "gpt-4o", [], id="an older GPT"),
    ],
)
def test_rules_that_the_catalog_cannot_say_are_offered(
    use_model: UseModel, review: Review, upstream: str, model: str, rules: list[str]
) -> None:
    use_model(upstream, model)

    assert [each.id for each in only(review()).additions] == rules


def test_the_region_of_a_profile_is_offered(use_model: UseModel, review: Review) -> None:
    upstream = use_model("openai", "gpt-6-sol")
    upstream.profile_overrides = {"region": "jp"}
    upstream.save()

    assert "region_jp" in [each.id for each in only(review()).additions]


def test_added_rules_are_kept_by_later_updates(use_model: UseModel, sync: Sync, review: Review) -> None:
    use_model("deepseek", "deepseek-flash")
    use_model("anthropic", "claude-opus-5-5")
    sync("--apply", "--yes", "--add", "weekdays", "--add", "inference_geo_us")
    assert sorted(PriceModifier.objects.values_list("dimension", "value", "weekdays")) == [
        ("inference_geo", "us", ""),
        ("service_tier", "batch", ""),
        ("speed", "fast", ""),
        ("utc_hours", "01:00-04:00,06:00-10:00", "12345"),
    ]
    assert review().proposals == ()

    ModelPrice.objects.filter(model_pattern="deepseek-flash").update(input_price=1)
    proposal = only(review())

    assert [(each.label, each.new) for each in proposal.changes] == [("Input", "$0.15")]
    assert proposal.price.modifiers[0].weekdays == "12345" and proposal.additions == ()


def test_rules_are_added_to_a_price_that_matches_the_catalog(use_model: UseModel, sync: Sync, review: Review) -> None:
    use_model("anthropic", "claude-opus-5-5")
    sync("--apply", "--yes")

    proposal = only(review())
    assert (proposal.kind, proposal.is_selected, proposal.changes) == ("rules", False, ())
    assert "Applied" not in sync("--apply", "--yes")
    sync("--apply", "--yes", "--add", "inference_geo_us")

    assert ModelPrice.objects.count() == 2
    assert review().proposals == ()


# ---- Application.


def test_nothing_is_applied_without_confirmation(
    use_model: UseModel, sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_model("anthropic", "claude-opus-5-5")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    with pytest.raises(CommandError, match="Confirm with --yes"):
        sync("--apply")
    sync()

    assert not ModelPrice.objects.exists()


def test_an_update_is_in_the_audit_log_with_its_modifiers(use_model: UseModel, sync: Sync) -> None:
    use_model("anthropic", "claude-opus-5-5")

    sync("--apply", "--yes")

    models = sorted(LogEntry.objects.values_list("content_type__model", flat=True))
    assert models.count("modelprice") == 1 and models.count("pricemodifier") == 2


def test_of_two_admins_who_apply_the_same_review_one_succeeds(use_model: UseModel, review: Review) -> None:
    use_model("anthropic", "claude-opus-5-5")
    use_model("anthropic", "claude-haiku-5-5")
    shown = review()
    chosen = {each.id: frozenset[str]() for each in shown.proposals}

    applying.apply(shown, chosen)
    with pytest.raises(applying.ReviewOutdated) as error:
        applying.apply(shown, chosen)

    assert [problem.field for problem in error.value.problems] == ["claude-haiku-5-5", "claude-opus-5-5"]
    assert ModelPrice.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_two_admins_at_the_same_moment_add_each_price_once(use_model: UseModel, review: Review) -> None:
    for model in ("claude-opus-5-5", "claude-haiku-5-5", "claude-sonnet-5-5"):
        use_model("anthropic", model)
    shown = review()
    chosen = {each.id: frozenset[str]() for each in shown.proposals}
    results: list[str] = []
    barrier = threading.Barrier(4)

    def apply() -> None:
        barrier.wait()
        try:
            results.append(f"applied {len(applying.apply(shown, chosen))}")
        except applying.ReviewOutdated:
            results.append("outdated")
        finally:
            connection.close()

    threads = [threading.Thread(target=apply) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == ["applied 3", "outdated", "outdated", "outdated"]
    assert ModelPrice.objects.count() == 3


def test_a_changed_price_makes_the_review_outdated_and_nothing_is_applied(use_model: UseModel, review: Review) -> None:
    use_model("anthropic", "claude-opus-5-5")
    use_model("anthropic", "claude-haiku-5-5")
    price = current("claude-opus-5-5")
    shown = review()
    PriceModifier.objects.create(price=price, dimension="speed", value="fast", input_factor=2, output_factor=2)

    with pytest.raises(applying.ReviewOutdated):
        applying.apply(shown, {each.id: frozenset() for each in shown.proposals})

    assert ModelPrice.objects.count() == 1


def test_one_invalid_price_and_none_is_applied(review: Review, tmp_path: Path) -> None:
    text = "model,input,output,modifiers\na,1,2,\nb,1,2,speed fast 2 2 | speed fast 3 3\nc,1,2,warp fast 2 2\n"
    shown = review("--csv", csv_file(tmp_path, text))

    with pytest.raises(applying.NotApplied) as error:
        applying.apply(shown, {each.id: frozenset() for each in shown.proposals})

    assert [problem.field.partition(",")[0] for problem in error.value.problems] == ["b", "c"]
    assert not ModelPrice.objects.exists()
    assert not LogEntry.objects.filter(content_type__model="modelprice").exists()


def test_a_price_must_start_after_the_one_that_it_replaces(use_model: UseModel, review: Review) -> None:
    use_model("anthropic", "claude-opus-5-5")
    current("claude-opus-5-5")
    shown = review()

    with pytest.raises(applying.NotApplied, match=r"must start after .* \(2026-01-01"):
        applying.apply(shown, {only(shown).id: frozenset()}, valid_from=START)


def test_a_price_may_start_in_the_future(use_model: UseModel, sync: Sync) -> None:
    use_model("anthropic", "claude-opus-5-5")
    start = timezone.now().replace(microsecond=0) + timedelta(days=3)

    sync("--apply", "--yes", "--valid-from", start.isoformat())

    assert ModelPrice.objects.get().valid_from == start


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("after_rows", [0, 150, 300])
def test_a_killed_update_leaves_no_price_behind(tmp_path: Path, after_rows: int) -> None:
    rows = "".join(f"model-{number},1,2,speed fast 2 2\n" for number in range(400))
    path = csv_file(tmp_path, "model,input,output,modifiers\n" + rows)
    # It is killed while it saves: the program stops itself before a row of the transaction.
    program = (
        "import os, signal, sys; sys.argv = ['manage.py', *sys.argv[1:]]\n"
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "from django.db.models.signals import post_save\n"
        "from keys.models import ModelPrice\n"
        "saved = []\n"
        "def count(**_):\n"
        "    saved.append(1)\n"
        f"    if len(saved) > {after_rows}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "post_save.connect(count, sender=ModelPrice)\n"
        "call_command('sync_prices', '--csv', sys.argv[1], '--apply', '--yes')\n"
    )
    environment = {**os.environ, "DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "project.settings"}

    ended = subprocess.run([sys.executable, "-c", program, path], cwd=ROOT, env=environment, capture_output=True)

    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2_000:]
    assert not ModelPrice.objects.exists() and not PriceModifier.objects.exists()
    assert not LogEntry.objects.filter(content_type__model="modelprice").exists()


# ---- Files.


def test_a_column_that_the_file_lacks_keeps_the_current_value(review: Review, tmp_path: Path) -> None:
    price = current("m", cache_read_price=7, source="mine")
    PriceModifier.objects.create(price=price, dimension="speed", value="fast", input_factor=2, output_factor=2)

    proposal = only(review("--csv", csv_file(tmp_path, "model,input,output\nm,6,25\n")))

    assert [(each.label, each.old, each.new) for each in proposal.changes] == [("Input", "$5.00", "$6.00")]
    assert proposal.is_selected


def test_a_row_for_the_start_of_another_price_is_named_and_not_applied(review: Review, tmp_path: Path) -> None:
    current("m")
    shown = review("--csv", csv_file(tmp_path, "model,input,output,valid_from\nm,1,2,2026-01-01T00:00Z\n"))

    proposal = only(shown)
    assert (proposal.is_selected, proposal.notes) == (
        False,
        ("Cannot be applied: another price starts at the same time.",),
    )
    with pytest.raises(applying.NotApplied):
        applying.apply(shown, {proposal.id: frozenset()})


def test_an_empty_cell_removes_the_value(review: Review, tmp_path: Path) -> None:
    current("m", cache_read_price=7)

    proposal = only(review("--csv", csv_file(tmp_path, "model,input,output,cache_read\nm,5,25,\n")))

    assert [(each.label, each.new) for each in proposal.changes] == [("Cache read", "input rate")]


def test_a_file_is_applied_with_all_its_columns(sync: Sync, tmp_path: Path) -> None:
    text = (
        "\ufeffModel;Upstream;valid_from;input;output;cache_read;web_search;free;implicit_cache_writes;"
        "max_output_tokens;modifiers;source\r\n"
        'a*;up;2026-12-01;2.5;"$1,000.00";;0.01;no;yes;64000;'
        "prompt_over 200000 2 1.5 | utc_hours 01:00-04:00,06:00-10:00 0.5 0.5 weekdays 67;list of May\r\n"
        "b;;;;;;;yes;;;;\r\n"
    )

    sync("--csv", csv_file(tmp_path, text), "--apply", "--yes")

    first, second = ModelPrice.objects.order_by("model_pattern")
    assert (first.model_pattern, first.upstream, first.source) == ("a*", "up", "list of May")
    assert first.valid_from == datetime(2026, 12, 1, tzinfo=UTC)
    assert (first.input_price, first.output_price, first.web_search_price) == (2_500_000, 1_000_000_000, 10_000)
    assert (first.cache_read_price, first.writes_cache_implicitly, first.max_output_tokens) == (None, True, 64_000)
    assert sorted(first.modifiers.values_list("dimension", "weekdays")) == [("prompt_over", ""), ("utc_hours", "67")]
    assert (second.is_free, second.input_price, second.source) == (True, 0, "CSV file")


def test_a_file_of_two_gigabytes_is_rejected_after_a_megabyte(sync: Sync, tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.write(b"model,input,output\n")
        file.truncate(2 * 1024**3)  # a sparse file
    start = time.monotonic()

    with pytest.raises(CommandError, match="larger than 1,024 KiB"):
        sync("--csv", str(path))

    assert time.monotonic() - start < 20
