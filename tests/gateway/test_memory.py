"""The calls of the C library."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import threading
from pathlib import Path
from gateway import memory

memory.share_arena()
held = []
threads = [threading.Thread(target=lambda: held.append([bytes(1000 + n) for n in range(20_000)])) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()

def used():
    return int(Path("/proc/self/statm").read_text().split()[1])

held.clear()
before = used()
memory.release_memory()
print(before, used())
"""


def test_what_was_used_is_given_back() -> None:
    """After much was allocated and freed by many threads, the system has most of it again."""
    output = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    before, after = map(int, output.stdout.split())
    assert after < before
