"""Validation of the sources of images and documents. Nothing is fetched, resolved, or decoded into pixels.

Upstreams may open a URL: it must name the same host to every parser, and a public one.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence

from lib.pace import Pace, no_pace
from messages_api.errors import RequestError
from messages_api.intake.schema import (
    Base64Document,
    Base64Image,
    Block,
    Blocks,
    ConversationMessage,
    Document,
    Image,
    ToolResult,
    Url,
)

MAX_IMAGES = 600
MAX_PDFS = 600  # Anthropic's limit is 600 pages; without one, 90,000 URLs take 2 s to check
MAX_BASE64_LENGTH = 10_000_000

BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
BASE64_PIECE = re.compile(r"[A-Za-z0-9+/]+")
PIECE_CHARACTERS = 2**20

# Stricter than RFC 3986: no user name, no escapes and no Unicode in the host, nothing that parsers read differently.
HTTPS_URL = re.compile(
    r"(?i:https)://(?:\[(?P<ipv6>[0-9a-f:.]{2,45})\]|(?P<host>[a-zA-Z0-9._-]{1,254}))(?::[0-9]{1,5})?"
    r"(?:[/?#][^\s\\\x00-\x1f\x7f-\x9f]*)?"
)
LABEL = re.compile(r"[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?")
NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")

# Names that never resolve publicly: RFC 6761, RFC 6762, and ICANN's top-level domain for private use.
PRIVATE_DOMAINS = {"localhost", "local", "internal"}
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")


def check_sources(messages: Sequence[ConversationMessage], *, step: Pace = no_pace) -> None:
    """Raise RequestError if an image or a document has a source that must not reach an upstream.

    `step` is called during long work.
    """
    images = pdfs = 0
    for i, message in enumerate(messages):
        for path, block in iter_sourced(message.content, f"messages[{i}].content"):
            images += isinstance(block, Image)
            pdfs += isinstance(block, Document) and isinstance(block.source, (Base64Document, Url))
            if images > MAX_IMAGES or pdfs > MAX_PDFS:
                raise too_many()
            check_source(block, f"{path}.source", step)


def too_many() -> RequestError:
    message = f"messages: at most {MAX_IMAGES} images and {MAX_PDFS} PDF documents in one request."
    return RequestError(message, param="messages")


def iter_sourced(content: str | Sequence[Block], path: str) -> Iterator[tuple[str, Image | Document]]:
    """Yield images and documents with their paths, including those inside tool results and documents."""
    if isinstance(content, str):
        return
    for i, block in enumerate(content):
        if isinstance(block, ToolResult):
            yield from iter_sourced(block.content, f"{path}[{i}].content")
        elif isinstance(block, (Image, Document)):
            yield f"{path}[{i}]", block
            if isinstance(block.source, Blocks):
                yield from iter_sourced(block.source.content, f"{path}[{i}].source.content")


def check_source(block: Image | Document, path: str, step: Pace) -> None:
    source = block.source
    step()
    if isinstance(source, (Base64Image, Base64Document)):
        check_base64(source.data, path=f"{path}.data", step=step)
    elif isinstance(source, Url):
        check_url(source.url, path=f"{path}.url")


def check_base64(data: str, *, path: str, step: Pace = no_pace) -> None:
    """Raise RequestError unless `data` is base64 with padding and without line breaks (RFC 4648, section 4)."""
    if len(data) > MAX_BASE64_LENGTH:
        raise RequestError(f"{path}: at most {MAX_BASE64_LENGTH} characters of base64.", param=path)
    if len(data) % 4 or not is_base64(data, step):
        raise RequestError(f"{path}: expected base64 with padding, not empty and without line breaks.", param=path)


def is_base64(data: str, step: Pace) -> bool:
    """Check it in pieces: 10 MB take 60 ms."""
    last = max(0, len(data) - PIECE_CHARACTERS)
    for start in range(0, last, PIECE_CHARACTERS):
        if not BASE64_PIECE.fullmatch(data, start, min(start + PIECE_CHARACTERS, last)):
            return False
        step()
    return BASE64.fullmatch(data, last) is not None


def check_url(url: str, *, path: str) -> None:
    """Raise RequestError unless `url` is https and names a public host."""
    match = HTTPS_URL.fullmatch(url)
    if match is None or not (is_public_ipv6(match["ipv6"]) if match["ipv6"] else is_public_host(match["host"])):
        raise RequestError(
            f"{path}: expected an https URL of a public host, without user name, backslash and white space.",
            param=path,
        )


def is_public_host(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    if NUMBER.fullmatch(labels[-1]):
        return is_public_ipv4(host)
    if len(labels) < 2 or labels[-1].lower() in PRIVATE_DOMAINS:
        return False
    return all(LABEL.fullmatch(label) for label in labels)


def is_public_ipv4(host: str) -> bool:
    try:
        address = ipaddress.IPv4Address(host)  # four decimal numbers without leading zeros, or an error
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def is_public_ipv6(host: str) -> bool:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return False
    # Other ranges, 6to4 and Teredo can map to private IPv4.
    carries_ipv4 = address not in GLOBAL_UNICAST or address.sixtofour or address.teredo
    return str(address) == host and address.is_global and not carries_ipv4
