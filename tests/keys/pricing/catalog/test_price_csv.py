"""Bad CSV files of prices: a message with line and column, and no row is used."""

import io

import pytest

from keys.pricing.catalog.price_csv import MAX_BYTES, UnreadablePrices, read

HEAD = "model,input,output\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("", "empty", id="empty file"),
        pytest.param("\n\n", "must name the columns", id="blank lines"),
        pytest.param(HEAD, "no rows", id="without rows"),
        pytest.param(HEAD + "a,1,2", "Line 2: The line has no end", id="cut in the last number"),
        pytest.param(HEAD + "a,1,2\nb,1\n", "Line 3: The row has 2 cells for 3 columns", id="cut in a row"),
        pytest.param(HEAD + 'a,"1,2\n', "Line 2: Not readable as CSV", id="cut in a quoted cell"),
        pytest.param("model,input,output,colour\n", "Line 1, colour: Unknown column", id="unknown column"),
        pytest.param("model,input,output,input\n", "Line 1, input: Duplicate column", id="repeated column"),
        pytest.param("model,input\n", "Line 1, output: Missing column", id="missing column"),
        pytest.param(HEAD + "a,1,2\na,1,3\n", "Line 3, model: The same model", id="duplicate row"),
        pytest.param(HEAD + "a,-1,2\n", "Line 2, input: A price cannot be negative", id="negative"),
        pytest.param(HEAD + "a,1.1234567,2\n", "Line 2, input: A millionth of a dollar", id="too many decimals"),
        pytest.param(HEAD + f"a,{'9' * 5_000},2\n", "Line 2, input:", id="too many digits"),
        pytest.param(HEAD + "a,99999,2\n", "Line 2, input: Enter at most", id="too large"),
        pytest.param(HEAD + "a,1e3,2\n", "Line 2, input: Enter an amount", id="exponent"),
        pytest.param("model;input;output\na;1,5;2\n", "Line 2, input: Enter an amount", id="decimal comma"),
        pytest.param(HEAD + "a,,2\n", "Line 2, input: Enter a price", id="without a price"),
        pytest.param(HEAD + "a,0,0\n", "Line 2, input: Enter a price", id="zero without free"),
        pytest.param("model,input,output,free\na,1,2,yes\n", "Line 2, free: A free model", id="free with a price"),
        pytest.param("model,input,output,free\na,1,2,maybe\n", "Line 2, free: Enter yes or no", id="no answer"),
        pytest.param(HEAD + "a*b,1,2\n", "Line 2, model: * is only allowed", id="pattern"),
        pytest.param("model,input,output,valid_from\na,1,2,soon\n", "Line 2, valid_from: Enter a date", id="date"),
        pytest.param("model,input,output,valid_from\na,1,2,9999-12-31\n", "Line 2, valid_from: Enter a", id="year"),
        pytest.param("model,input,output,modifiers\na,1,2,fast\n", "Line 2, modifiers: Enter modifiers", id="modifier"),
        pytest.param(b"model,input,output\na\xff,1,2\n", "Line 2: Not UTF-8", id="another encoding"),
        pytest.param("model,input,output\na,1,2\0\n", "not a text file", id="null byte"),
        pytest.param(HEAD + "a,1,2\n" * 501, "Line 502: The file has more than 500 rows", id="too many rows"),
        pytest.param(b"x" * (MAX_BYTES + 1), "larger than 1,024 KiB", id="too many bytes"),
    ],
)
def test_a_bad_file_is_rejected_with_line_and_column(content: str | bytes, message: str) -> None:
    with pytest.raises(UnreadablePrices) as error:
        read(io.BytesIO(content if isinstance(content, bytes) else content.encode()))

    assert message in str(error.value)


def test_the_faults_of_all_lines_are_reported_up_to_a_bound() -> None:
    with pytest.raises(UnreadablePrices) as error:
        read(io.BytesIO((HEAD + "a,-1,x\n" * 400).encode()))

    assert [(problem.line, problem.field) for problem in error.value.problems[:3]] == [
        (2, "input"),
        (2, "output"),
        (3, "input"),
    ]
    assert len(error.value.problems) == 20


class Endless(io.RawIOBase):
    """A file of any size, which counts what is read."""

    taken = 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "the whole file"
        self.taken += size
        return b"a" * size


def test_a_large_file_is_read_up_to_the_bound_alone() -> None:
    file = Endless()

    with pytest.raises(UnreadablePrices, match="larger than 1,024 KiB"):
        read(file)  # type: ignore[arg-type]

    assert file.taken == MAX_BYTES + 1
