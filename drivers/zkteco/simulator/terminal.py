"""A simulated terminal: its memory and the faults that are on in it."""

from drivers.zkteco.simulator.faults import Faults
from drivers.zkteco.simulator.hooks import Hooks
from drivers.zkteco.simulator.memory import Memory


class SimulatedTerminal(Memory):
    """A terminal's memory, with ``faults`` that can be switched on and off while it is served."""

    faults: Faults

    def make_hooks(self) -> Hooks:
        """Connect the faults to the memory."""
        self.faults = Faults(self)
        return self.faults
