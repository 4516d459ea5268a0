"""Errors of a request before it is sent to an upstream."""


class RequestError(Exception):
    """The request cannot be served; `message` states what to change and is safe to show.

    `status` and `type` are those of Anthropic's API. `param` is the path of the field, such as
    `messages[0].content[1].source`, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        status: int = 400,
        type: str = "invalid_request_error",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status
        self.type = type
        self.headers = headers or {}
