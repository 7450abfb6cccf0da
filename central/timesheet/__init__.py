"""The judgement of attendance: pure functions from facts, plan and policy to verdicts with reasons.

Nothing in this package reads a file, a clock or a database. All figures are integers: seconds, minutes, thousandths of
a percent, rupiah. Every function is total: any input of its types has a result.
"""
