"""Driver of terminals that call: ZKTeco PUSH, also named ADMS, iclock or "cloud server".

Attendance PUSH 2.0.1 to 2.4.2, and of Security PUSH 3.x ("acc") as much as punches need. ``wire`` is the format,
``session`` the state of one terminal, ``terminal`` the driver, ``simulator`` a terminal with faults.
"""
