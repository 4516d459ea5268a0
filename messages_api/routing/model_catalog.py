"""Model catalog: the models that an API key may use, with what upstreams say about them.

A route with a model name is a model. For a route with a pattern, the models are those that its upstreams list, or that
an admin names. The lists are read in the background, never for a request.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import F, Q
from django.utils import timezone

from keys.access import authorization
from keys.access.snapshots import Snapshot
from lib import deadlines, model_patterns
from lib.cached import SingleFlightCache
from messages_api.backend import adapters
from messages_api.backend.protocol import model_list
from messages_api.backend.protocol.model_list import ListedModel
from messages_api.backend.upstream_error import UpstreamError
from messages_api.models import ModelCatalog, Upstream
from messages_api.routing import route_table
from messages_api.routing.route_table import RoutedTarget, RouteTable

RETRY_AFTER = timedelta(minutes=10)
"""Time until a list that could not be read is read again. Also how long the worker that reads it may take."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The models of one upstream."""

    entries: Mapping[str, ListedModel]
    """What the upstream says about its models, by name."""
    names: Collection[str]
    """Those that are listed for a pattern: the names of the admin, else of `entries`."""


NO_LISTING = Listing({}, ())
Targets = tuple[RoutedTarget, ...]
Listings = Mapping[str, Listing]
"""The listings by the identity of the endpoint."""


def models(*, key: Snapshot) -> list[ListedModel]:
    """Return the models that a key may use, the newest first."""
    table, listings = route_table.current(), catalogs.get() or {}
    routed = {name: _targets(name, table) for name in route_table.models(key=key)}
    routed |= {name: targets for name, targets in _listed(table, listings) if authorization.allows_model(key, name)}
    return model_list.newest_first(_described(name, routed[name], listings, key=key) for name in routed)


def find(name: str, *, key: Snapshot) -> ListedModel | None:
    """Return a model that a key may use and a route matches, also if no upstream lists it; None if there is none."""
    if not route_table.is_available(name, key=key):
        return None
    return _described(name, _targets(name, route_table.current()), catalogs.get() or {}, key=key)


def _targets(name: str, table: RouteTable) -> Targets:
    pattern = model_patterns.most_specific(table.routes, name)
    return () if pattern is None else table.routes[pattern]


def _described(name: str, targets: Targets, listings: Listings, *, key: Snapshot) -> ListedModel:
    """Return what the first upstream of a model says about it, under the name that clients use.

    The AGREED_FIELDS are left out where another upstream of the model says something else.
    """
    entries = _entries(_first(targets), name, listings)
    if not entries:
        return {"id": name, "lifecycle": "active"}
    if len(targets) > 1:
        entries += _entries(_same_model(targets, name), name, listings)
    entry = model_list.agreed(entries)
    described: ListedModel = entry if entry["id"] == name else {**entry, "id": name, "display_name": name}
    if "allowed_fallback_models" in entry:
        fallbacks = entry["allowed_fallback_models"]
        described["allowed_fallback_models"] = [each for each in fallbacks if authorization.allows_model(key, each)]
    return described


def _entries(targets: Iterable[RoutedTarget], name: str, listings: Listings) -> list[ListedModel]:
    """Return what the upstreams of some targets say about a model, where they list it."""
    found = (
        listings.get(target.target.endpoint.identity, NO_LISTING).entries.get(target.target.model or name)
        for target in targets
    )
    return [entry for entry in found if entry is not None]


def _listed(table: RouteTable, listings: Listings) -> Iterable[tuple[str, Targets]]:
    """Yield the models of routes with a pattern and their targets: those of the upstreams that requests reach first."""
    for pattern, targets in table.routes.items():
        if not model_patterns.is_prefix(pattern):
            continue
        for target in _first(targets):
            if target.target.model:
                continue  # every name of the pattern is this one model
            listing = listings.get(target.target.endpoint.identity, NO_LISTING)
            for name in listing.names:
                is_covered = model_patterns.covers(pattern, name)  # cheaper: most of a list may not be
                if is_covered and model_patterns.most_specific(table.routes, name) == pattern:
                    yield name, targets


def _first(targets: Iterable[RoutedTarget]) -> list[RoutedTarget]:
    """Return the enabled targets of the first priority that has one."""
    enabled = [target for target in targets if target.is_enabled]
    return [target for target in enabled if target.priority == enabled[0].priority]


def _same_model(targets: Targets, name: str) -> list[RoutedTarget]:
    """Return the enabled targets without the fallback models, which differ from those of the first priority."""
    primary = {target.target.model or name for target in targets if target.priority == targets[0].priority} | {name}
    return [target for target in targets if target.is_enabled and (target.target.model or name) in primary]


def _load() -> Listings:
    upstreams = Upstream.objects.filter(enabled=True).select_related("catalog").defer("credential_ciphertext")
    return {f"{upstream.name}@{upstream.base_url}": _listing(upstream) for upstream in upstreams}


def _listing(upstream: Upstream) -> Listing:
    catalog: ModelCatalog | None = getattr(upstream, "catalog", None)
    listed: list[Any] = catalog.entries if catalog is not None and catalog.base_url == upstream.base_url else []
    entries: dict[str, ListedModel] = {entry["id"]: {"lifecycle": "active"} | entry for entry in listed}
    return Listing(entries, upstream.model_names or entries)


catalogs = SingleFlightCache(_load)


# ---- Reading the lists.


def refresh() -> None:
    """Read the model lists that are due. One worker reads each: the one that moves its `due_at`."""
    if not settings.MODEL_LIST_INTERVAL_S:
        return
    is_due = Q(catalog=None) | Q(catalog__due_at__lte=timezone.now()) | ~Q(catalog__base_url=F("base_url"))
    for upstream in list(Upstream.objects.filter(is_due, enabled=True, targets__isnull=False).distinct()):
        if _claim(upstream):
            _read(upstream)


def _claim(upstream: Upstream) -> bool:
    """Postpone the reading of a list. Return whether this worker has done it, and no other."""
    now = timezone.now()
    claimed = {"base_url": upstream.base_url, "due_at": now + RETRY_AFTER}
    catalog, is_new = ModelCatalog.objects.get_or_create(upstream=upstream, defaults=claimed)
    if is_new:
        return True
    is_due = Q(due_at__lte=now) | ~Q(base_url=upstream.base_url)
    return ModelCatalog.objects.filter(is_due, pk=catalog.pk).update(**claimed, entries=_kept(catalog, upstream)) == 1


def _kept(catalog: ModelCatalog, upstream: Upstream) -> list[ListedModel]:
    """Return the list that is shown until the new one is read: none, if it comes from another base URL."""
    kept: list[ListedModel] = catalog.entries if catalog.base_url == upstream.base_url else []
    return kept


def _read(upstream: Upstream) -> None:
    row = ModelCatalog.objects.filter(upstream=upstream, base_url=upstream.base_url)
    deadlines.release_connections()  # requests may need it while the upstream responds slowly
    try:
        entries = adapters.models(upstream.endpoint())
    except UpstreamError as error:
        row.update(error=error.message[:200])  # the last list stays: an outage removes no model
        return
    now = timezone.now()
    interval = timedelta(seconds=settings.MODEL_LIST_INTERVAL_S)
    row.update(entries=entries, listed_at=now, error="", due_at=now + interval)
