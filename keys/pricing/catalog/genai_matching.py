"""The catalog of genai-prices: which of its models an upstream's model is, and how certain that is. Offline."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from urllib.parse import urlsplit

from genai_prices.data import providers
from genai_prices.types import ClauseEquals, ClauseOr, ModelInfo, Provider

from keys.pricing.catalog.proposals import Confidence

SOURCE = f"genai-prices {version('genai-prices')}"
REGIONAL_HOST = re.compile(r"^(?P<scheme>https://)(?P<region>us|eu)\.(?P<host>api\.openai\.com)", re.ASCII)
"""Base URLs with a surcharge, which the catalog does not know."""
_DATE = re.compile(r"[-@](20\d{2}-?[01]\d-?[0-3]\d)$", re.ASCII)
_ANOTHER_VERSION = re.compile(r"[-.]\d{1,2}(?!\d)", re.ASCII)
"""What follows the ID of a model in the name of another one: `claude-opus-5` and `claude-opus-5-5`."""
_BOUNDARY = "-:@/."
RANKS: tuple[Confidence, ...] = ("exact", "dated", "prefix")


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogMatch:
    """A model of the catalog for a model of an upstream."""

    provider: Provider
    model: ModelInfo
    confidence: Confidence
    is_named_only: bool
    """The upstream's base URL is not that of the provider."""

    @property
    def catalog_id(self) -> str:
        return f"{self.provider.id}/{self.model.id}"


def find(model: str, *, base_url: str) -> CatalogMatch | None:
    """Return the model of the catalog, of the provider of the base URL, else of the providers of such names."""
    own = [each for each in providers if re.match(each.api_pattern, _without_region(base_url))]
    if own:
        return _best(model, own, is_named_only=False)
    named = [each for each in providers if each.model_match and each.model_match.is_match(model.lower())]
    return _best(model, named, is_named_only=True)


def get(catalog_id: str) -> CatalogMatch | None:
    """Return the model with this ID, such as `anthropic/claude-opus-5-5`."""
    provider_id, _, model_id = catalog_id.partition("/")
    for provider in providers:
        if provider.id == provider_id:
            for model in provider.models:
                if model.id == model_id:
                    return CatalogMatch(provider=provider, model=model, confidence="exact", is_named_only=False)
    return None


def region_of(base_url: str) -> str:
    """Return the region of a regional endpoint, such as `eu`, or the empty string."""
    match = REGIONAL_HOST.match(base_url)
    return match["region"] if match else ""


def _without_region(base_url: str) -> str:
    """Return the URL with its host in lower case, for the patterns of the catalog."""
    parts = urlsplit(base_url)
    return REGIONAL_HOST.sub(r"\g<scheme>\g<host>", parts._replace(netloc=parts.netloc.lower()).geturl())


def _best(name: str, candidates: list[Provider], *, is_named_only: bool) -> CatalogMatch | None:
    found = [
        CatalogMatch(provider=provider, model=model, confidence=confidence, is_named_only=is_named_only)
        for provider in candidates
        for model, confidence in _matches(name, provider)
    ]
    # The longest ID among equal ones: `gpt-4o-mini` before `gpt-4o`.
    return min(found, key=lambda each: (RANKS.index(each.confidence), -len(each.model.id)), default=None)


def _matches(name: str, provider: Provider) -> Iterator[tuple[ModelInfo, Confidence]]:
    """Yield the models of a provider that a name may stand for."""
    lower = name.lower()
    undated = _DATE.sub("", lower)
    for model in provider.models:
        catalog_id = model.id.lower()
        if lower == catalog_id or _names(model, lower):
            yield model, "exact"
        elif (
            undated == catalog_id or lower == _DATE.sub("", catalog_id) or (undated != lower and _names(model, undated))
        ):
            yield model, "dated"
        elif lower.startswith(catalog_id) and _is_variant(lower[len(catalog_id) :]):
            yield model, "prefix"
    if model_by_rule := provider.find_model(name):
        yield model_by_rule, "prefix"


def _is_variant(rest: str) -> bool:
    return rest[0] in _BOUNDARY and not _ANOTHER_VERSION.match(rest)


def _names(model: ModelInfo, name: str) -> bool:
    """Return whether the catalog lists the name for the model, literally."""
    clauses = model.match.or_ if isinstance(model.match, ClauseOr) else [model.match]
    return any(isinstance(each, ClauseEquals) and each.equals.lower() == name for each in clauses)
