"""Values of fields, for the tests of what they are as bytes."""

from datetime import datetime, timedelta
from functools import cache

from hypothesis import strategies as st

from drivers.zkteco import layouts

NOON = datetime(2026, 9, 4, 12)  # noqa: DTZ001 - a terminal's wall clock has no zone
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31, 23, 59, 59)).map(  # noqa: DTZ001 - as above
    lambda moment: moment.replace(microsecond=0)
)
CODES = st.integers(0, 255)
TEXT_PINS = st.text("".join(chr(code) for code in range(33, 127)), min_size=1, max_size=24)
NUMBER_PINS = st.integers(0, 2**32 - 1).map(str)
FEBRUARY_31 = ((24 * 12 + 1) * 31 + 30) * 86400
YEAR_2103 = 103 * 372 * 86400


@cache
def encoded_log(layout: str, count: int) -> bytes:
    """Encode a log of ``count`` records of 97 people."""
    return b"".join(
        layouts.encode_record(
            layout,
            pin=str(1001 + row % 97),
            uid=1 + row % 97,
            moment=NOON - timedelta(seconds=37 * (count - row)),
            state=row % 2,
            verify=1,
            index=row + 1,
        )
        for row in range(count)
    )
