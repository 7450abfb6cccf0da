"""The judgement of attendance: pure functions from facts, plan and policy to verdicts with reasons.

Only ``facts``, ``wanted``, ``recompute`` and ``worker`` read a database or a clock. All figures are integers: seconds,
minutes, thousandths of a percent, rupiah. Every function is total: any input of its types has a result.
"""
