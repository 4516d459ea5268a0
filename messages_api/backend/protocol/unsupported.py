"""Why a request cannot be said in an upstream's words."""


class UnsupportedRequest(ValueError):
    """A request asks for something that this upstream cannot give: 400 `invalid_request_error`.

    `message` is safe to show. `param` is the path of the field, such as `messages[1].content[0].source`.
    """

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
