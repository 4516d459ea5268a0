"""Usage records without a gateway: admitted and settled by the ledger."""

from typing import Any

from keys.models import APIKey, UsageRecord
from keys.usage import ledger
from keys.usage.rows import Admission, Settlement
from messages_api.middleware import new_request_id

ADMISSION: dict[str, Any] = {
    "api_format": "envelope",
    "model": "claude-3",
    "streamed": False,
    "estimated_input_tokens": 7,
    "lease_s": 10**8,
}
SETTLEMENT: dict[str, Any] = {
    "status": "completed",
    "http_status": 200,
    "upstream": "local",
    "attempts": [{"upstream": "local", "status": 200}],
    "input_tokens": 9,
    "output_tokens": 12,
    "cache_read_tokens": 0,
    "usage_source": "reported",
    "ttft_ms": 5,
    "duration_ms": 20,
}


def admission_of(api_key: APIKey, **changes: Any) -> Admission:
    secret_id = api_key.secrets.values_list("pk", flat=True)[0]
    of_key = {
        "secret_id": secret_id,
        "api_key_id": api_key.pk,
        "team_id": api_key.team_id,
        "owner_id": api_key.owner_id,
    }
    return Admission(**(ADMISSION | {"id": new_request_id()} | of_key | changes))


class UsageRecorder:
    def __init__(self, api_key: APIKey) -> None:
        self.api_key = api_key

    def record(self, *, as_key: APIKey | None = None, **fields: Any) -> UsageRecord:
        """Admit and settle a request. Return its record. Fields are those of the admission and the settlement."""
        api_key = as_key or self.api_key
        admitted, ended = (
            {name: value for name, value in fields.items() if name in kind.__dataclass_fields__}
            for kind in (Admission, Settlement)
        )
        assert admitted.keys() | ended.keys() == fields.keys()
        admission = admission_of(api_key, **admitted)
        settlement = Settlement(**(SETTLEMENT | ended))
        if settlement.status == "rejected":
            ledger.reject(admission, http_status=403, error_type="permission_error")
            ledger.close()  # `reject` does not wait for its commit; closing the writer does
        else:
            ledger.admit(admission)
        if settlement.status not in ("rejected", "started", "interrupted"):
            ledger.settle(admission, settlement)
        return UsageRecord.objects.get(pk=admission.id)
