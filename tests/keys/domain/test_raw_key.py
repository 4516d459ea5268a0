"""Raw keys: recognizable, with a checksum, and stored as a digest that requires the pepper."""

import re
from collections.abc import Callable

import pytest

from keys.domain import raw_key

RAW = raw_key.generate()


def test_a_raw_key_has_fifty_characters_that_a_double_click_selects() -> None:
    assert re.fullmatch("mgw_[0-9A-Za-z]{46}", RAW)
    assert raw_key.is_well_formed(RAW)


def test_a_thousand_raw_keys_are_all_different() -> None:
    assert len({raw_key.generate() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda raw: raw[:-1], id="too short"),
        pytest.param(lambda raw: raw + "0", id="too long"),
        pytest.param(lambda raw: raw.swapcase(), id="other case"),
        pytest.param(lambda raw: "sk-_" + raw[4:], id="other prefix"),
        pytest.param(lambda raw: raw[:10] + ("a" if raw[10] != "a" else "b") + raw[11:], id="one other character"),
        pytest.param(lambda raw: raw[:-6] + raw[-6:][::-1] + "", id="checksum reversed"),
        pytest.param(lambda raw: raw[:20] + "_" + raw[21:], id="an underscore"),
        pytest.param(lambda raw: raw[:20] + "é" + raw[21:], id="not ASCII"),
        pytest.param(lambda raw: raw[:20] + "\n" + raw[21:], id="a line end"),
        pytest.param(lambda raw: raw + "\n", id="a line end behind it"),
        pytest.param(lambda raw: "", id="nothing"),
    ],
)
def test_a_changed_key_is_not_well_formed(spoil: Callable[[str], str]) -> None:
    spoiled = spoil(RAW)

    assert spoiled == RAW or not raw_key.is_well_formed(spoiled)


def test_the_digest_depends_on_the_key_and_the_pepper() -> None:
    digest = raw_key.digest(RAW, pepper="one")

    assert len(digest) == 32
    assert digest == raw_key.digest(RAW, pepper="one")
    assert digest != raw_key.digest(RAW, pepper="two")
    assert digest != raw_key.digest(raw_key.generate(), pepper="one")


def test_the_hint_is_six_random_characters_and_never_the_checksum() -> None:
    assert raw_key.hint(RAW) == RAW[4:10]


def test_the_identifier_of_a_pepper_does_not_disclose_it() -> None:
    assert re.fullmatch("[0-9a-f]{8}", raw_key.pepper_id("a pepper of many characters"))
