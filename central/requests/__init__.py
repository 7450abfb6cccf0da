"""Requests: a row of a register that one person enters and another approves, and notes on days."""
