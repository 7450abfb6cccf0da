"""An office with every kind of day, behind the pages: lateness, leave, a night shift, a move, and names that bite."""

from datetime import timedelta
from pathlib import Path

from tests.central.web.site import Served

LONG = "Raden Ajeng Siti Nurhalizah Kusumaningtyas Prabandari, S.Kom"
HEBREW = "שלום Contoh"
PEOPLE = (
    "key,name,employment,unit,from,until\n"
    f'd,"{LONG}",pns,clinic,2026-08-24,\ne,{HEBREW},pppk,clinic,2026-08-24,\nf,Contoh Enam,cpns,dinas,2026-08-24,\n'
    "g,Penjaga Malam,pppk,clinic,2026-08-24,\nh,Contoh <i>Delapan</i>,pns,school,2026-08-24,\n"
)
PINS = {"1003": "d", "1004": "e", "1005": "f", "1006": "g"}


def serve_month(folder: Path) -> Served:
    """Return the pages of the office on 3 September 2026, 09:00 in Jakarta; a decision was entered at 08:30."""
    served = Served(folder)
    office = served.office
    office.enter("units", "key,name,parent,from\nempty,Bidang Kosong,dinas,2026-01-01\n")
    office.enter("people", PEOPLE)
    pins = "".join(f"{pin},3602-bkpsdm,{person},2026-01-01\n" for pin, person in PINS.items())
    office.enter("enrolments", f"pin,site,person,from\n{pins}")
    office.enter(
        "timetables",
        "timetable,from,slot,kind,due,window from,window until\n"
        "night,2026-01-01,in,in,21:00,19:00,23:59\nnight,2026-01-01,out,out,31:00,29:00,34:00\n",
    )
    office.enter("rosters", "person,2026-08-31,2026-09-01,2026-09-02\ng,off,night,off\n")
    office.enter("leave", "person,kind,from\ne,annual,2026-08-31\n")
    office.state("lobby", "S1", records=None)
    clock = {"offset_ms": 420_000, "measured": "2026-08-31T00:29:41.120Z", "bound_ms": 35}
    office.punched("1001", "2026-08-31 07:45:10", suspect=["drift"], clock=clock)
    office.punched("1001", "2026-08-31 16:01:00", "2026-09-01 07:20:00", "2026-09-01 16:05:00")
    office.punched("1002", "2026-08-31 07:10:00", "2026-08-31 16:02:00")
    office.punched("1003", "2026-08-31 08:40:00", "2026-08-31 15:01:00", "2026-09-01 07:10:00", "2026-09-01 16:10:00")
    office.punched("1005", "2026-08-31 07:11:00", "2026-08-31 16:04:00", "2026-09-01 07:12:00", "2026-09-01 16:03:00")
    office.punched("1006", "2026-09-01 20:55:00", "2026-09-02 07:03:00")
    for pin in ("1001", "1003", "1005"):
        office.punched(pin, f"2026-09-02 07:2{pin[-1]}:00", f"2026-09-02 16:0{pin[-1]}:00")
    office.punched("1003", "2026-09-03 07:20:00")
    office.punched("1005", "2026-09-03 07:55:00")
    office.at("2026-09-03 08:00")
    office.now += timedelta(minutes=30)
    office.enter("decisions", "decision,person,suspect,from,by,paper\naccept,a,drift,2026-08-31,Kepala BKD,SK 9/2026\n")
    office.at("2026-09-03 09:00")
    return served
