"""A simulated ZKTeco terminal in layers; each works without those below it in this list.

* ``hooks``: the points at which a fault can change what a layer does.
* ``memory``: what the terminal stores: log, users, clock, key. ``punch`` adds a record.
* ``conversation``: one client's exchange; a request packet gives the answer packets.
* ``faults``: the catalogue of faults, and those that are on in one terminal.
* ``terminal``: memory with faults.
* ``console``, ``server``: typed commands; sockets and threads.
* ``office``: an invented office's log, and terminals from the plain values of a command line.
"""

from drivers.zkteco.simulator.conversation import Conversation
from drivers.zkteco.simulator.office import Generated, build, generate
from drivers.zkteco.simulator.server import Simulator
from drivers.zkteco.simulator.terminal import SimulatedTerminal

__all__ = ["Conversation", "Generated", "SimulatedTerminal", "Simulator", "build", "generate"]
