"""``make torture SEEDS=200``: torment an office seed by seed, and say how each came out.

``python -m tests.torture [--centre] [--seeds N] [--first SEED] [--seconds S]``. The folder of a seed that
failed is kept.
"""

import argparse
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from tests.torture import centre, harness
from tests.torture.disk import compiled


def main() -> int:
    """Run the seeds; return 1 if any failed."""
    parser = argparse.ArgumentParser(
        description="Torment a gateway, its broker and its centre; check that nothing is lost."
    )
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument(
        "--centre",
        action="store_true",
        help="torment a centre with lanes, judges and a standby on PostgreSQL: kill, freeze, cut lines, promote, "
        "full disk, power cut as far as a process can be, clocks set wrong, a broker without its memory",
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each torments")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hadir-torture-"))
    folder.chmod(0o711)  # PostgreSQL runs as another user, and loads libraries from below it
    library = None if options.centre else compiled(folder)
    did: Counter[str] = Counter()
    failed: list[int] = []
    records = 0
    for seed in range(options.first, options.first + options.seeds):
        place = folder / f"seed-{seed}"
        place.mkdir()
        try:
            torture = harness.Torture(seed, place, library) if library else centre.Torture(seed, place)
            outcome = torture.run(options.seconds)
        except Exception as exc:  # noqa: BLE001 - the next seed is run all the same
            failed.append(seed)
            print(f"seed {seed} FAILED: {exc}")  # noqa: T201
            traceback.print_exc()
            which = " --centre" if options.centre else ""
            repeat = f"python -m tests.torture{which} --first {seed} --seeds 1 --seconds {options.seconds:g}"
            print(f"  everything is in {place}; again: {repeat}", flush=True)  # noqa: T201
            continue
        print(outcome, flush=True)  # noqa: T201
        did.update(outcome.did)
        records += outcome.records
        shutil.rmtree(place)
    total = ", ".join(f"{count} × {what}" for what, count in sorted(did.items()))  # noqa: RUF001 - times
    whole = options.seeds - len(failed)
    print(f"{whole} of {options.seeds} seeds whole: {records} records once each, through {total}")  # noqa: T201
    if not failed:
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
