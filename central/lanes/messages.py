"""Texts of the commands ``lanes`` for people."""

from central.texts import _

LANES = {
    "none": _("no worker has begun: hadir-central inbox --lanes N"),
    "none_to_set": _("no worker has begun; the first `inbox --lanes N` says how many there are."),
    "plan": _("{lanes} lanes, client id {client_id}, root {root}"),
    "door": _("door"),
    "lane": _("lane {number}"),
    "free": _("held by no worker"),
    "held": _("worker {worker}"),
    "sites": _("{sites} sites"),
    "moving": _("{sites} sites, {moving} about to move"),
    "set": _("{lanes} lanes; workers follow within seconds, see `hadir-central lanes show`"),
}
