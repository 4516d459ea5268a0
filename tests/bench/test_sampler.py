"""The sampler of profiles: CPU time is attributed to the thread, the package and the library that used it."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

PROGRAM = """
import json, os, signal, sys, threading, time
sys.path[:1] = [{folder!r}, {sampler!r}]
import sampler
from keys.usage import writer
from lib import work

sampler.install({folder!r}, {file!r})
os.kill(os.getpid(), signal.SIGRTMIN)
thread = threading.Thread(target=writer.write)
thread.start()
work.burn(0.4)
thread.join()
work.encode(0.4)
os.kill(os.getpid(), signal.SIGRTMIN + 1)
time.sleep(0.01)
"""
WORK = """
import json, time

def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(100))

def encode(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        json.loads(json.dumps(list(range(2_000))), parse_int=str)
"""
WRITER = "from lib.work import burn\n\ndef write():\n    burn(0.2)\n"


def test_cpu_time_is_attributed_to_thread_and_package(tmp_path: Path) -> None:
    for name, source in {"lib/work.py": WORK, "keys/usage/writer.py": WRITER}.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(source)
    file = tmp_path / "profile.json"
    program = PROGRAM.format(folder=str(tmp_path), sampler=str(ROOT / "bench/profiling"), file=str(file))

    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, timeout=60)

    profile = json.loads(file.read_text())
    found = {tuple(key): seconds for *key, seconds in profile["rows"]}
    of_main = sum(used for (thread, package, _), used in found.items() if (thread, package) == ("main", "lib/work.py"))
    assert found["thread of keys/usage", "lib/work.py", ""] > 0.15
    assert found["main", "lib/work.py", "json"] > 0.05
    assert of_main > 0.6
    assert sum(found.values()) > 0.9 * profile["cpu_s"] - 0.1
