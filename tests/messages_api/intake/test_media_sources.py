"""Sources of images and documents: public https URLs and strict base64."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages_api.errors import RequestError
from messages_api.intake import media_sources


def is_rejected(check, value: str) -> bool:
    try:
        check(value, path="messages[0].content[0].source")
    except RequestError as error:
        assert (error.status, error.param) == (400, "messages[0].content[0].source")
        assert error.message.startswith("messages[0].content[0].source: ")
        assert len(error.message) <= 300
        return True
    return False


@pytest.mark.parametrize(
    "url",
    [
        "https://ok.test/x.png",
        "HTTPS://OK.TEST/x.png",
        "https://ok.test",
        "https://ok.test?x=1",
        "https://ok.test:8443/a@b/x.png?u=https://127.0.0.1/#f",
        "https://my_bucket.s3.ok.test/ä/%0d%0a",
        "https://xn--bcher-kva.example/",
        "https://ok.test./x.png",
        "https://1.2.3.4.ok.test/",
        "https://8.8.8.8/x.png",
        "https://[2606:4700:4700::1111]/x.png",
        "https://[2606:4700:4700::1111]:443/x.png",
    ],
)
def test_an_https_url_of_a_public_host_is_accepted(url):
    assert not is_rejected(media_sources.check_url, url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x.png",
        "//ok.test/x.png",
        "http://ok.test/x.png",
        "ftp://ok.test/x.png",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "https:ok.test",
        "https:/ok.test/",
        "https:///x.png",
        "https://",
        " https://ok.test/",
        "https://ok.test/\n",
        "https://ok.test/a b",
        "https://ok.test/\r\nX: 1",
        "https://ok.test/\t",
        "https://ok.test/\0",
        "https://ok.test/\x85",
        "https://ok.test/\u2028",
        "https://ok.test/a\\b",
        "https://ok.test\\@169.254.169.254/",
        "https://user@ok.test/",
        "https://user:password@ok.test/",
        "https://@ok.test/",
        "https://ok.test:/",
        "https://ok.test:x/",
        "https://ok.test:443:443/",
        "https://ok..test/",
        "https://.ok.test/",
        "https://ok.test../",
        "https://-ok.test/",
        "https://ok-.test/",
        "https://" + "a" * 64 + ".test/",
        "https://" + "a." * 130 + "test/",
        "https://" + "." * 10_000_000,
        "https://[" + ":" * 10_000_000 + "]/",
        "https://ok%2etest/",
        "https://ok。test/",
        "https://bücher.example/",
        "https://127.0.0。1/",
        "https://\uff11\uff12\uff17.0.0.1/",
    ],
)
def test_a_url_that_is_ambiguous_or_not_https_is_rejected(url):
    assert is_rejected(media_sources.check_url, url)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("localhost", id="one label"),
        pytest.param("localhost.", id="one label with a dot"),
        pytest.param("LOCALHOST", id="upper case"),
        pytest.param("intranet", id="another label"),
        pytest.param("a.localhost", id="below localhost"),
        pytest.param("a.localhost.", id="below localhost with a dot"),
        pytest.param("metadata.google.internal", id="private domain"),
        pytest.param("printer.local", id="multicast DNS"),
        pytest.param("127.0.0.1", id="loopback"),
        pytest.param("127.1.2.3", id="another loopback"),
        pytest.param("127.0.0.1.", id="loopback with a dot"),
        pytest.param("0.0.0.0", id="unspecified"),
        pytest.param("10.0.0.1", id="private 10"),
        pytest.param("172.16.0.1", id="private 172"),
        pytest.param("192.168.0.1", id="private 192"),
        pytest.param("100.64.0.1", id="shared"),
        pytest.param("169.254.169.254", id="metadata"),
        pytest.param("224.0.0.1", id="multicast"),
        pytest.param("255.255.255.255", id="broadcast"),
        pytest.param("240.0.0.1", id="reserved"),
        pytest.param("192.0.2.1", id="documentation"),
        pytest.param("2130706433", id="decimal"),
        pytest.param("134744072", id="public, but decimal"),
        pytest.param("0x7f000001", id="hexadecimal"),
        pytest.param("0177.0.0.1", id="octal"),
        pytest.param("010.8.8.8", id="public, but octal"),
        pytest.param("127.1", id="shortened"),
        pytest.param("8.8", id="public, but shortened"),
        pytest.param("0x7f.1", id="hexadecimal and shortened"),
        pytest.param("1.2.3.0x4", id="hexadecimal at the end"),
        pytest.param("1.2.3.256", id="out of range"),
        pytest.param("1.2.3.4.5", id="five numbers"),
        pytest.param("ok.123", id="number at the end"),
        pytest.param("ok.0x", id="bare 0x at the end"),
        pytest.param("[::1]", id="loopback 6"),
        pytest.param("[::]", id="unspecified 6"),
        pytest.param("[::ffff:8.8.8.8]", id="mapped"),
        pytest.param("[::ffff:808:808]", id="mapped, in hexadecimal"),
        pytest.param("[::8.8.8.8]", id="compatible"),
        pytest.param("[64:ff9b::808:808]", id="NAT64"),
        pytest.param("[2002:7f00:1::]", id="6to4"),
        pytest.param("[2001:0:7f00:1::]", id="Teredo"),
        pytest.param("[fe80::1]", id="link-local"),
        pytest.param("[fe80::1%25eth0]", id="zone"),
        pytest.param("[fd00:ec2::254]", id="unique local"),
        pytest.param("[ff02::1]", id="multicast 6"),
        pytest.param("[2001:db8::1]", id="documentation 6"),
        pytest.param("[2606:4700:4700:0::1111]", id="public, but not canonical"),
        pytest.param("[2606:4700:4700::1111", id="open bracket"),
        pytest.param("2606:4700:4700::1111", id="no brackets"),
        pytest.param("[8.8.8.8]", id="IPv4 in brackets"),
        pytest.param("[]", id="nothing in brackets"),
    ],
)
def test_a_host_that_is_not_public_or_not_canonical_is_rejected(host):
    assert is_rejected(media_sources.check_url, f"https://{host}/x.png")


@given(st.text())
def test_a_url_never_raises_anything_but_a_request_error(text):
    is_rejected(media_sources.check_url, f"https://{text}")


@given(st.binary(min_size=1))
def test_base64_of_any_bytes_is_accepted(data):
    assert not is_rejected(media_sources.check_base64, base64.b64encode(data).decode())


@pytest.mark.parametrize(
    "data",
    ["", "=", "==", "A", "AA", "AAA", "A===", "AA=A", "AAAA=", "AAAA====", "AA\nA", "AAAA\n", "AA_-", "AÄAA", "data:"],
)
def test_base64_that_is_not_strict_is_rejected(data):
    assert is_rejected(media_sources.check_base64, data)


def test_base64_has_a_maximum_size():
    assert not is_rejected(media_sources.check_base64, "A" * 10_000_000)
    assert is_rejected(media_sources.check_base64, "A" * 10_000_004)


@pytest.mark.parametrize("length", [4, 2**20, 2**20 + 4, 3 * 2**20, 3 * 2**20 + 8])
def test_base64_is_strict_in_each_piece(length):
    data = "A" * length
    assert not is_rejected(media_sources.check_base64, data)
    assert not is_rejected(media_sources.check_base64, data[:-2] + "==")
    for place in {0, length // 2, 2**20 - 1, 2**20, length - 1}:
        if place < length:
            assert is_rejected(media_sources.check_base64, data[:place] + "-" + data[place + 1 :])
    if length > 2**20:
        assert is_rejected(media_sources.check_base64, data[: 2**20 - 1] + "=" + data[2**20 :])
