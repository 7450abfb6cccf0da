"""ZKTeco standalone terminals, and the many brands built on them: the binary protocol of port 4370."""
