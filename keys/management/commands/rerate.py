"""Command that rates the requests of a period again, with the current prices, or undoes that."""

import time
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.models import Rerating
from keys.reports.date_range import DateRange
from keys.usage import reporting_zone, rerating
from keys.usage.rerating import ReratingRejected
from lib import money
from lib.arguments import day, whole_number

WAIT_S = 0.2  # for another process that does a step, or for a request that is being settled


class Command(BaseCommand):
    help = (
        "Rate the settled requests of a period again, with the current prices, and correct hourly rollups and budgets. "
        "Without --apply, only a preview. A run that was interrupted is continued by the gateway, or with --continue. "
        "Example: manage.py rerate --from 2026-11-01 --to 2026-11-30 --model claude-opus-5-5 --apply"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        run = whole_number(1, 2**63 - 1)
        parser.add_argument("--from", dest="first", metavar="DATE", type=day, help="first day")
        parser.add_argument("--to", dest="last", metavar="DATE", type=day, help="last day")
        parser.add_argument("--model", default="", help="requested, upstream or served model (default: all)")
        parser.add_argument("--upstream", default="", help="name of the upstream (default: all)")
        parser.add_argument("--apply", action="store_true", help="apply the run after its preview")
        parser.add_argument("--undo", metavar="RUN", type=run, help="restore the amounts from before a run")
        parser.add_argument("--continue", dest="unfinished", metavar="RUN", type=run, help="continue a run")

    def handle(
        self, *, first: date | None, last: date | None, undo: int | None, unfinished: int | None, **options: Any
    ) -> None:
        reporting_zone.follow_only()
        try:
            if undo is not None:
                run = self._find(undo)
                rerating.undo(run)
            elif unfinished is not None:
                run = self._find(unfinished)
            else:
                run = self._preview(first, last, options)
                if not options["apply"]:
                    return
                rerating.apply(run)
        except ReratingRejected as error:
            raise CommandError(str(error)) from None
        self._finish(run)

    def _find(self, pk: int) -> Rerating:
        run = Rerating.objects.filter(pk=pk).first()
        if run is None:
            raise CommandError(f"There is no run {pk}.")
        return run

    def _preview(self, first: date | None, last: date | None, options: dict[str, Any]) -> Rerating:
        if first is None or last is None:
            raise CommandError("Enter the first and the last day with --from and --to.")
        if last < first:
            raise CommandError("The last day is before the first.")
        begin, end = DateRange(first=first, last=last).bounds()
        run = rerating.begin(first=begin, end=end, model=options["model"], upstream=options["upstream"])
        self._finish(run)
        return run

    def _finish(self, run: Rerating) -> None:
        """Do the steps of a run to its end, and write its figures."""
        while run.is_running:
            if not rerating.step(run.pk):
                time.sleep(WAIT_S)
            run.refresh_from_db()
        self.stdout.write(
            f"Run {run.pk}: {run.get_state_display()}. {run.changed_records:,} of {run.records:,} requests change: "
            f"{money.exact(run.old_picos)} → {money.exact(run.new_picos)}, {run.newly_priced:,} get a price, "
            f"{run.newly_unpriced:,} lose it, {len(run.budgets):,} budgets."
        )
        if run.state == Rerating.RunState.UNDONE:
            kept = f"{run.kept_records:,} settled since and kept"
            self.stdout.write(f"{run.restored_records:,} requests restored, {kept}.")
