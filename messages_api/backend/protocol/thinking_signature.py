"""The gateway's own signatures of thinking blocks, for thinking of upstreams that sign none.

Clients such as Claude Code drop thinking without a signature. A signature of the gateway shows where it came from: such
a block is never sent to Anthropic, which would reject it, and may be sent to other upstreams as reasoning.
"""

import hashlib
import hmac

from messages_api.backend.protocol.types import Block

MARK = "gateway1_"


class ThinkingSigner:
    """Sign thinking, and recognize it when it comes back. The key is shared by all processes of a gateway."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def signature(self, thinking: str) -> str:
        return f"{MARK}{hmac.new(self._key, thinking.encode('utf-8', 'surrogatepass'), hashlib.sha256).hexdigest()}"

    def is_forged(self, block: Block) -> bool:
        """Whether a block has a signature of the gateway that was made for another text, or with another key."""
        signature = block.get("signature")
        if not is_own(signature):
            return False
        return not hmac.compare_digest(str(signature).encode(), self.signature(block["thinking"]).encode())


def is_own(signature: object) -> bool:
    """Whether a signature claims to be the gateway's own."""
    return isinstance(signature, str) and signature.startswith(MARK)
