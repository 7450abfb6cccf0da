"""The former name of :mod:`drivers.conformance`; importing it says so."""

raise ImportError(
    "drivers.promises is drivers.conformance now: import Bench instead of Stand, CHECKS instead of PROMISES"
)
