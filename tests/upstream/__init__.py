"""Scripted upstream for tests: both dialects over real sockets, with faults on demand."""

from .anthropic_dialect import anthropic_error, anthropic_frame, anthropic_response, anthropic_stream
from .openai_dialect import openai_error, openai_frame, openai_response, openai_stream
from .proxy import FaultProxy, Faults
from .replies import HELLO, Reply, ToolCall
from .request_log import RecordedRequest
from .responses import (
    body_of,
    body_response,
    failure,
    frames_of,
    paced,
    replied,
    streamed,
)
from .scenario import Scenario
from .scenarios import SCENARIOS
from .server import ScriptedUpstream
from .steps import (
    Chunk,
    Close,
    Dribble,
    EndChunks,
    HalfClose,
    Head,
    Pause,
    ReadBody,
    RefuseConnections,
    Reset,
    Script,
    Send,
    Step,
    WaitForPeer,
)

__all__ = [
    "HELLO",
    "SCENARIOS",
    "Chunk",
    "Close",
    "Dribble",
    "EndChunks",
    "FaultProxy",
    "Faults",
    "HalfClose",
    "Head",
    "Pause",
    "ReadBody",
    "RecordedRequest",
    "RefuseConnections",
    "Reply",
    "Reset",
    "Scenario",
    "Script",
    "ScriptedUpstream",
    "Send",
    "Step",
    "ToolCall",
    "WaitForPeer",
    "anthropic_error",
    "anthropic_frame",
    "anthropic_response",
    "anthropic_stream",
    "body_of",
    "body_response",
    "failure",
    "frames_of",
    "openai_error",
    "openai_frame",
    "openai_response",
    "openai_stream",
    "paced",
    "replied",
    "streamed",
]
