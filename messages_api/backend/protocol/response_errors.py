"""Errors that an OpenAI server reports in a response with status 200."""

from messages_api.backend.protocol.error_mapping import (
    FAILED_FINISH_REASONS,
    NO_CHOICES,
    MappedError,
    is_minimax_error,
    map_openai_error,
)
from messages_api.backend.protocol.stop_reasons import known_finish
from messages_api.backend.protocol.types import JSONObject

# Some servers send an empty `error` field in every chunk.
_NO_ERROR = (None, "", False)

# Fields of an error that has no `error`.
_ERROR_FIELDS = ("errors", "detail", "msg", "error_msg", "message")


def is_error(chunk: JSONObject) -> bool:
    """Whether a response or a chunk is an error."""
    if chunk.get("error") not in _NO_ERROR or chunk.get("object") == "error" or chunk.get("type") == "error":
        return True
    return "base_resp" in chunk and is_minimax_error(chunk)


def error_without_choices(response: JSONObject) -> MappedError:
    """Return the error of a response without choices, in the server's words if it has some."""
    if response.get("success") is False or any(response.get(field) for field in _ERROR_FIELDS):
        return map_openai_error(200, response)
    return NO_CHOICES


def choice_error(choice: JSONObject) -> MappedError | None:
    """Return the error of a failed generation: with the provider's own words if the choice has them."""
    failed = FAILED_FINISH_REASONS.get(known_finish(choice.get("finish_reason")) or "")
    if choice.get("error") not in _NO_ERROR:
        return map_openai_error(200, choice)
    return failed
