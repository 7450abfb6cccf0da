"""`hadir demo`: a day of an invented office on one machine, without set-up, from the punches to the verdicts.

``files`` holds the office as its registers and its script; everything else lives in temporary folders and ends with
the command.

    office      the office's files, moved to another date, and its terminals
    past        what its people did in the weeks before
    script      who punches where and when, and which verdict is meant; what the centre says of a day
    clock       the time of the day, shared by all programs
    daemon      the gateway's process on that clock
    subscriber  an independent subscriber of punches and verdicts
    totals      punches by place, and waiting as long as numbers move
    replay      the day itself: people punch, a terminal is cut off and found again
    screen      what a person sees
    run         all of it together
"""
