"""Hook of schemathesis: it reads plain responses only, so no case requests a stream."""

from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    if isinstance(case.body, dict) and case.body.get("stream") is True:
        case.body["stream"] = False
