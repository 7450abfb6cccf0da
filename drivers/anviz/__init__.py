"""Anviz terminals: the serial protocol TC_B over RS-232, RS-485 and TCP 5010."""
