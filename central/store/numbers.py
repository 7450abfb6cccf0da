"""Numbers of what people see one by one, such as requests.

They are drawn at random, so that they say nothing about how many others there are, here or in other units.
"""

from secrets import randbelow
from typing import Any

from sqlalchemy import Column, Connection, select

LEAST, MOST = 10_000_000, 99_999_999
"""Eight digits: read out, typed and written on paper without a mistake; far more than an office ever needs."""


def unused_number(connection: Connection, column: Column[Any]) -> int:
    """Return a number that no row has in a column, within the caller's writing transaction."""
    while True:
        number = LEAST + randbelow(MOST - LEAST + 1)
        if connection.execute(select(column).where(column == number)).first() is None:
            return number
