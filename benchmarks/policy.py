"""Loading a policy as large as a file may be, against reading its YAML alone."""

from collections.abc import Iterator
from time import process_time

from benchmarks.figures import TIMES, Figure, Plan, yes_no
from central.policy.document import MAX_BYTES, compose
from central.policy.load import Library

AIM = 3
AIM_S = 20
BANDS = 20


def run(plan: Plan) -> Iterator[Figure]:
    """Measure the largest policy: checked, compiled and with the place of each value."""
    text = policy(plan.size(MAX_BYTES))
    begun = process_time()
    compose(text, "policy.yaml")
    alone = process_time() - begun
    path = plan.fresh("policy") / "policy.yaml"
    path.write_text(text, "utf-8")
    begun = process_time()
    loaded = Library().load_file(path)
    ours = process_time() - begun
    assert len(loaded.versions) == 1
    yield Figure(
        f"load a policy of {len(text) / 1024:,.0f} KiB",
        baseline=f"{alone:.1f} s of ruamel.yaml alone",
        ours=f"{ours:.1f} s",
        ratio=f"{ours / alone:.1f} {TIMES}",
        aim=f"at most {AIM} {TIMES} and {AIM_S} s",
        met=yes_no(ours <= min(AIM * alone, AIM_S)),
    )


def policy(size: int) -> str:
    """Return a policy of almost as many bytes: kinds of slots, each with twenty bands."""
    text = "policy: large\nsource: {decree: benchmark}\nslots:\n"
    kinds = [text]
    length = len(text)
    while True:
        bands = "".join(
            f'      - {{from: {10 * band + 1}, class: TL{band}, cut: "{band}.5"}}\n' for band in range(BANDS)
        )
        kind = f"  in{len(kinds)}:\n    measure: late\n    bands:\n{bands}"
        length += len(kind)
        if length > size:
            return "".join(kinds)
        kinds.append(kind)
