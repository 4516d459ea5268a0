"""Error for a request that an upstream's dialect cannot express."""


class UnsupportedRequest(ValueError):
    """The request needs a feature that this upstream does not support: 400 `invalid_request_error`.

    `message` is safe to show. `param` is the path of the field, such as `messages[1].content[0].source`.
    """

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
