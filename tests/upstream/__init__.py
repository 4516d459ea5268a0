"""A model server for tests: it speaks both dialects over real sockets and misbehaves on demand."""

from .answers import (
    answered,
    body_of,
    failure,
    frames_of,
    paced,
    replied,
    streamed,
)
from .anthropic_words import anthropic_answer, anthropic_error, anthropic_frame, anthropic_stream
from .calls import Call
from .openai_words import openai_answer, openai_error, openai_frame, openai_stream
from .proxy import FaultProxy, Faults
from .replies import HELLO, Reply, ToolCall
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
    "Call",
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
    "answered",
    "anthropic_answer",
    "anthropic_error",
    "anthropic_frame",
    "anthropic_stream",
    "body_of",
    "failure",
    "frames_of",
    "openai_answer",
    "openai_error",
    "openai_frame",
    "openai_stream",
    "paced",
    "replied",
    "streamed",
]
