"""Child processes with bounds: output, time, memory, and no descriptors of the parent."""

import os
import socket
import time
from pathlib import Path

import pytest

from lib.child_process import Bounds, ChildFailed, run_python

ROOMY = Bounds(timeout_s=60, memory_bytes=1024**3, output_bytes=1024**2)


def run(program: str, *, stdin: bytes = b"", bounds: Bounds = ROOMY, **environment: str) -> bytes:
    return run_python(["-I", "-c", program], environment=environment, stdin=stdin, bounds=bounds)


def children() -> list[str]:
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()


def test_a_child_gets_its_input_and_environment_and_returns_its_output() -> None:
    program = "import os, sys; sys.stdout.write(sys.stdin.read().upper() + os.environ['WORD'])"

    assert run(program, stdin=b"x" * 300_000, WORD="end") == b"X" * 300_000 + b"end"


def test_a_child_that_fails_is_reported_with_the_end_of_its_errors() -> None:
    with pytest.raises(ChildFailed, match="status 1") as error:
        run("import sys; sys.exit('x' * 10_000 + 'the reason')")

    assert error.value.output.endswith("the reason\n") and len(error.value.output) <= 4_000


@pytest.mark.parametrize(
    ("program", "bounds", "message"),
    [
        pytest.param(
            "import time; time.sleep(600)",
            Bounds(timeout_s=0.3, memory_bytes=1024**3, output_bytes=100),
            "not finished in time",
            id="silent",
        ),
        pytest.param(
            "import os, time; os.close(1); time.sleep(600)",
            Bounds(timeout_s=0.3, memory_bytes=1024**3, output_bytes=100),
            "not finished in time",
            id="without output",
        ),
        pytest.param(
            "while True: print('x' * 1000)",
            Bounds(timeout_s=60, memory_bytes=1024**3, output_bytes=100_000),
            "more than 100,000 bytes",
            id="endless output",
        ),
    ],
)
def test_a_child_beyond_a_bound_is_killed(program: str, bounds: Bounds, message: str) -> None:
    before, start = children(), time.monotonic()

    with pytest.raises(ChildFailed, match=message):
        run(program, bounds=bounds)

    assert children() == before
    assert time.monotonic() - start < 30


def test_a_child_cannot_take_more_memory_than_its_bound() -> None:
    # It waits, so that the bound is set before.
    program = "import time; time.sleep(0.5); x = bytearray(400 * 1024**2); print(len(x))"

    assert run(program) == b"419430400\n"
    with pytest.raises(ChildFailed) as error:
        run(program, bounds=Bounds(timeout_s=60, memory_bytes=300 * 1024**2, output_bytes=100))
    assert "MemoryError" in error.value.output


def test_a_child_does_not_hold_inheritable_descriptors_of_its_parent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)  # as gunicorn does

        found = run("import os; print(sorted(int(name) for name in os.listdir('/dev/fd'))[:5])")

    assert listener.fileno() == -1
    assert found == b"[0, 1, 2, 3]\n"  # 3 is that of the list itself


def test_no_descriptor_is_left_open() -> None:
    run("pass")
    before = len(os.listdir("/dev/fd"))

    for _ in range(3):
        run("pass")
        with pytest.raises(ChildFailed):
            run("raise SystemExit(2)")

    assert len(os.listdir("/dev/fd")) == before
