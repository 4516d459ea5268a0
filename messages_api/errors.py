"""What can be wrong with a call before an upstream is asked. Each is told to the caller in the words of the lane."""


class RequestError(Exception):
    """The request cannot be served as it is; `message` says what to change and is safe to show.

    `status` and `type` are those of Anthropic's API (design: statuses and types); `param` is the path of the field,
    such as `messages[0].content[1].source`, or None when no field is to blame.
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
