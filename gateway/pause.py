"""Back-off after failures: exponential, bounded, and with jitter, so that many offices do not retry in step."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pause:
    """A back-off, in seconds."""

    first_s: float
    longest_s: float

    def after(self, failures: int) -> float:
        """Return the pause after this many failures in a row, half to one and a half times its nominal length."""
        jitter = random.uniform(0.5, 1.5)  # noqa: S311 - not a secret
        return jitter * min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 16))
