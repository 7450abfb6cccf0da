"""What a terminal that speaks PUSH is answered, and what leaves the session."""

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo

import pytest

from drivers.base import BadRecord, RawPunch
from drivers.push import session as module
from drivers.push import wire
from tests.drivers.push.conversation import SERIAL, Conversation

at = datetime.fromisoformat
DAY = (at("2026-11-29 00:00:00"), at("2026-11-29 23:59:59"))


def punch(pin: str, moment: str = "2026-11-30 07:01:02") -> bytes:
    """Return a line of ATTLOG."""
    return f"{pin}\t{moment}\t0\t1\t0\t0\t0\n".encode()


@pytest.fixture
def terminal() -> Conversation:
    """Return a terminal that the gateway knows."""
    return Conversation()


# --- the beginning ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "cdata?options=all&pushver=2.4.1&language=73&DeviceType=att",
        "cdata.aspx?options=all",
        "//iclock//cdata?options=all",
        "/secret/iclock/CDATA.php?OPTIONS=all",
    ],
)
def test_the_answer_to_the_first_request(terminal: Conversation, target: str) -> None:
    """Each spelling gets the same options."""
    text = terminal.text(target)
    assert text.startswith(f"GET OPTION FROM: {SERIAL}\n")
    assert "ATTLOGStamp=0\n" in text
    assert "TimeZone=7\n" in text
    assert text.endswith("\n")


def test_no_terminal_is_answered_before_its_stamps_are_known() -> None:
    """A stamp of 0 would make the terminal send its whole log."""
    terminal = Conversation()
    terminal.session._marks = None
    for target, body in (("cdata?options=all", None), ("getrequest", None), ("cdata?table=ATTLOG", punch("7"))):
        reply = terminal.send(target, body)
        assert (reply.status, reply.body) == (503, b"")
    assert terminal.batches == []


@pytest.mark.parametrize(
    ("zone", "expected"), [("Asia/Makassar", "8"), ("Asia/Jayapura", "9"), ("Asia/Kolkata", "330")]
)
def test_the_zone_is_that_of_the_terminal(zone: str, expected: str) -> None:
    """A terminal without it takes the zone of its factory."""
    assert Conversation(zone=ZoneInfo(zone)).options()["TimeZone"] == expected


def test_no_date_leaves_unless_the_clock_is_to_be_set(terminal: Conversation) -> None:
    """The header Date is a command to terminals."""
    for _ in range(5):
        assert "Date" not in terminal.send("cdata?options=all").headers
        assert "Date" not in terminal.send("getrequest").headers
    assert terminal.send("cdata?type=time").status == 404
    assert terminal.send("rtdata?type=time").status == 404


def test_the_date_where_the_clock_is_set() -> None:
    """It is GMT; where this computer's own clock is not synchronised nothing is sent."""
    terminal = Conversation(sets_clock=True)
    for target in ("cdata?options=all", "getrequest"):
        date = parsedate_to_datetime(terminal.send(target).headers["Date"])
        assert abs(date - terminal.now()) < timedelta(seconds=2)
    number = wire.packed(terminal.now().replace(tzinfo=None))
    assert terminal.text("rtdata?type=time") in {f"DateTime={number + more},ServerTZ=+0700" for more in (0, 1)}
    terminal.synchronised = False
    assert "Date" not in terminal.send("getrequest").headers
    assert terminal.send("cdata?type=time").status == 404


def test_the_communication_key() -> None:
    """A terminal with another key is refused until it shows the right one; the case of its letters varies."""
    key = "0123456789ABCDEF0123456789abcdef"
    terminal = Conversation(comm_key=key)
    assert terminal.send("cdata?options=all").status == 401
    assert terminal.send("cdata?options=all&pushcommkey=0").status == 401
    assert terminal.send("getrequest").status == 503
    assert terminal.send("cdata?table=ATTLOG", punch("7")).status == 503
    assert terminal.send("registry", b"").status == 401
    assert terminal.batches == []
    assert terminal.send(f"cdata?options=all&pushcommkey={key.lower()}").status == 200
    assert terminal.text("getrequest") == "OK"
    assert terminal.text("cdata?table=ATTLOG", punch("7")) == "OK: 1"


def test_one_serial_number_from_two_addresses(terminal: Conversation) -> None:
    """The first one is served, the other one is refused and reported; a new address is accepted after a silence."""
    assert terminal.text("getrequest") == "OK"
    terminal.address = "192.168.1.66"
    assert terminal.send("cdata?table=ATTLOG", punch("7")).status == 503
    assert terminal.batches == []
    assert [notice.code for notice in terminal.notices] == ["serial_from_two_addresses"]
    terminal.now_s += module.SAME_ADDRESS_S + 1
    assert terminal.text("cdata?table=ATTLOG", punch("7")) == "OK: 1"


def test_an_address_without_the_key_keeps_no_terminal_out() -> None:
    """Anybody can call with a serial number before the terminal does; results of commands need the key, too."""
    terminal = Conversation(comm_key="secret")
    terminal.address = "192.168.1.66"
    assert terminal.send("getrequest").status == 503
    terminal.address = "192.168.1.201"
    assert terminal.send("cdata?options=all&pushcommkey=secret").status == 200
    command = terminal.session.request("VERIFY SUM ATTLOG", *DAY)
    assert command is not None
    terminal.text("getrequest")
    terminal.address = "192.168.1.66"
    result = f"ID={command.number}&Return=0&CMD=VERIFY SUM&AttlogCount=0".encode()
    assert terminal.send("devicecmd", result).status == 503
    assert [notice.code for notice in terminal.notices] == ["serial_from_two_addresses"]
    terminal.now_s += module.SAME_ADDRESS_S + 1
    assert terminal.send("devicecmd", result).status == 503, "after a silence of the terminal"
    assert command.result is None
    terminal.address = "192.168.1.201"
    assert terminal.text("getrequest") == "OK"


# --- punches ------------------------------------------------------------------------------------------------------


def test_four_fields_and_a_stamp(terminal: Conversation) -> None:
    """Firmware of before 2.2: no table is named, and the stamp is sent back as it was."""
    assert terminal.text("cdata?Stamp=864975662", b"0042\t2026-11-30 07:01:02\t0\t1\n") == "OK: 1"
    (batch,) = terminal.batches
    assert batch.mark == ("ATTLOG", "864975662")
    assert batch.records == [
        RawPunch("0042", None, at("2026-11-30 07:01:02"), 0, 1, None, b"0042\t2026-11-30 07:01:02\t0\t1")
    ]
    assert terminal.options()["Stamp"] == terminal.options()["ATTLOGStamp"] == "864975662"


def test_bad_lines_count(terminal: Conversation) -> None:
    """No partial acceptance exists: what holds something is acknowledged, good or bad."""
    body = b"\n12\t2026-02-31 07:00:00\t0\t1\nno tabs\n\t2026-11-30 07:00:00\t0\t1\n" + punch("7")
    assert terminal.text("cdata?table=ATTLOG&Stamp=1", body) == "OK: 4"
    assert terminal.pins() == [None, None, None, "7"]


def test_nul_and_high_bytes(terminal: Conversation) -> None:
    """The line is quarantined with its bytes; its neighbours are punches."""
    broken = b"8\x00\xff\t2026-11-30 07:00:00\t0\t1"
    assert terminal.text("cdata?table=ATTLOG&Stamp=1", punch("7") + broken + b"\n" + punch("9")) == "OK: 3"
    assert terminal.pins() == ["7", None, "9"]
    bad = terminal.batches[0].records[1]
    assert isinstance(bad, BadRecord)
    assert bad.raw == broken


def test_an_empty_upload(terminal: Conversation) -> None:
    """It is answered, and nothing is stored."""
    assert terminal.text("cdata?table=ATTLOG", b"") == "OK: 0"
    assert terminal.batches == []


def test_what_is_not_stored_is_not_acknowledged(terminal: Conversation) -> None:
    """No OK in the answer, and the stamp stays; later the same upload is accepted."""
    terminal.is_stored = False
    for _ in range(4):
        reply = terminal.send("cdata?table=ATTLOG&Stamp=55", punch("7"))
        assert (reply.status, reply.body) == (503, b"")
    assert terminal.options()["Stamp"] == "0"
    terminal.is_stored = True
    assert terminal.text("cdata?table=ATTLOG&Stamp=55", punch("7")) == "OK: 1"
    assert terminal.options()["Stamp"] == "55"
    assert terminal.notices == []


def test_a_full_mailbox_refuses(terminal: Conversation) -> None:
    """The terminal keeps its punches."""
    terminal.takes = False
    assert terminal.send("cdata?table=ATTLOG&Stamp=55", punch("7")) == module.REFUSED


def test_an_upload_in_pieces(terminal: Conversation) -> None:
    """However the body arrives, the batch is one."""
    terminal.send("cdata?table=ATTLOG&Stamp=1", punch("7") + punch("8"), step=1)
    assert terminal.pins() == ["7", "8"]


def test_a_line_of_10_megabytes(terminal: Conversation) -> None:
    """It does not stand in the way of the others."""
    body = punch("7") + b"x" * 10 * 1024 * 1024 + b"\n" + punch("8")
    assert terminal.text("cdata?table=ATTLOG&Stamp=1", body) == "OK: 3"
    assert terminal.pins() == ["7", None, "8"]


def test_too_many_records_in_one_upload(terminal: Conversation) -> None:
    """They are refused and reported; nothing of them is stored."""
    body = (b"no tabs " + b"x" * 900 + b"\n") * 5000
    assert terminal.send("cdata?table=ATTLOG&Stamp=1", body).status == 413
    assert terminal.batches == []
    assert [notice.code for notice in terminal.notices] == ["upload_too_long"]


def test_a_stamp_that_runs_backwards(terminal: Conversation) -> None:
    """It is stored and sent back all the same, and reported."""
    terminal.text("cdata?table=ATTLOG&Stamp=900", punch("7"))
    terminal.text("cdata?table=ATTLOG&Stamp=800", punch("8"))
    assert terminal.options()["Stamp"] == "800"
    assert [notice.code for notice in terminal.notices] == ["stamp_reversed"]


def test_a_terminal_that_does_not_understand_the_answer(terminal: Conversation) -> None:
    """The third time that it sends an acknowledged upload it gets the other form, and from then on."""
    answers = [terminal.text("cdata?table=ATTLOG&Stamp=1", punch("7")) for _ in range(3)]
    assert answers == ["OK: 1", "OK: 1", "OK"]
    assert terminal.text("cdata?table=ATTLOG&Stamp=2", punch("8")) == "OK"
    assert terminal.text("cdata?table=BIODATA", b"A=1\n") == "OK: 1"
    assert [notice.code for notice in terminal.notices] == ["ack_form_changed"]


def test_a_form_that_does_not_help_is_changed_back(terminal: Conversation) -> None:
    """Replies were lost, and the terminal understands only the first form."""
    answers = [terminal.text("cdata?table=ATTLOG&Stamp=1", punch("7")) for _ in range(6)]
    assert answers == ["OK: 1", "OK: 1", "OK", "OK", "OK: 1", "OK: 1"]


def test_repeats_of_minutes_are_not_a_loop(terminal: Conversation) -> None:
    """The same upload once in a while is a terminal that was switched off and on."""
    for _ in range(5):
        assert terminal.text("cdata?table=ATTLOG&Stamp=1", punch("7")) == "OK: 1"
        terminal.now_s += module.REPEATS_S


# --- what is discarded --------------------------------------------------------------------------------------------


def test_operations_and_templates_are_discarded(terminal: Conversation) -> None:
    """They are acknowledged by their lines; the stamp is kept, or they would come again at each start."""
    body = (
        b"OPLOG 4\t0\t2026-11-30 07:00:00\t0\t0\t0\t0\n"
        b"USER PIN=7\tName=Siti\tPasswd=1234\tCard=99\n"
        b"FP PIN=7\tFID=1\tTMP=Ts9SUzIxAAAE\n"
        b"FACE PIN=7\tFID=0\tTMP=AAAA\n"
        b"USERPIC PIN=7\tContent=/9j/4AAQ\n"
    )
    assert terminal.text("cdata?table=OPERLOG&OpStamp=77", body) == "OK: 5"
    (batch,) = terminal.batches
    assert (batch.records, batch.mark) == ([], ("OPERLOG", "77"))
    options = terminal.options()
    assert (options["OpStamp"], options["OPERLOGStamp"], options["Stamp"]) == ("77", "77", "0")
    assert terminal.text("cdata?OpStamp=77", body) == "OK: 5"
    assert len(terminal.batches) == 1, "the same stamp is not stored again"
    assert terminal.session.counters.tables == {"operlog": 2}


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("cdata?table=ATTPHOTO", "OK"),
        ("fdata?table=ATTPHOTO", "OK"),
        ("cdata?table=BIODATA", "OK: 2"),
        ("cdata?table=USERPIC", "OK: 2"),
        ("cdata?table=BIOPHOTO", "OK: 2"),
        ("cdata?table=IDCARD", "OK: 2"),
        ("cdata?table=ERRORLOG", "OK: 2"),
        ("cdata?table=OPERLOG&ContentType=tgz", "OK: 2"),
        ("cdata?table=rtstate", "OK"),
    ],
)
def test_personal_tables(terminal: Conversation, target: str, answer: str) -> None:
    """Nothing leaves the session, and a photo's name reaches no file."""
    body = b"PIN=../../etc/cron.d/x.jpg\tSN=1\x00\nCMD=uploadphoto\x00\xff\xd8\xff"
    assert terminal.text(target, body) == answer
    assert terminal.batches == []
    assert terminal.session.counters.tables.total() == 1


def test_an_unknown_table_with_punches_stays_in_the_terminal(terminal: Conversation) -> None:
    """It is reported once."""
    for _ in range(3):
        assert terminal.send("cdata?table=XYZLOG", punch("7")).status == 503
    assert [(notice.code, notice.values["table"]) for notice in terminal.notices] == [("table_held", "xyzlog")]
    assert terminal.batches == []


def test_an_unknown_table_without_punches_is_discarded(terminal: Conversation) -> None:
    """It is acknowledged, or it would block the others; it is reported once."""
    for _ in range(2):
        assert terminal.text("cdata?table=XYZLOG", b"A=1\tB=2\n") == "OK: 1"
    assert [notice.code for notice in terminal.notices] == ["table_discarded"]


def test_many_unknown_tables_are_not_remembered(terminal: Conversation) -> None:
    """A stranger cannot fill the memory with names."""
    for number in range(100):
        terminal.send(f"cdata?table=T{number}", b"A=1\n")
    assert len(terminal.notices) == module.UNKNOWN_MAX


def test_questions_about_persons_are_answered_without_data(terminal: Conversation) -> None:
    """A known PIN and an unknown one get the same answer."""
    assert terminal.text("cdata?table=RemoteAtt&PIN=7") == terminal.text("cdata?PIN=99999") == "OK"
    assert terminal.text("cdata?AuthType=FP", b"x" * 4096) == "OK"
    assert terminal.text("cdata?type=PostVerifyData", b"PIN=7") == "OK"
    assert (terminal.batches, terminal.session.counters.questions) == ([], 4)


@pytest.mark.parametrize("target", ["ping", "test", "event"])
def test_requests_that_need_nothing(terminal: Conversation, target: str) -> None:
    """OK is enough."""
    assert terminal.text(target) == "OK"


@pytest.mark.parametrize("target", ["exchange?type=publickey", "file", "../../etc/passwd", "cdataX", ""])
def test_unknown_paths(terminal: Conversation, target: str) -> None:
    """No path reaches a file."""
    assert terminal.send(target).status == 404


def test_what_the_terminal_reports_of_itself(terminal: Conversation) -> None:
    """At the poll and after the beginning; a list without a value changes nothing."""
    assert terminal.text("getrequest?INFO=Ver 6.60 Apr 28 2017,12,30,900,10.1.2.9,10") == "OK"
    assert terminal.text("cdata?table=options", b"~DeviceName=K40,ComKey=9,TransactionCount=901") == "OK"
    assert terminal.session.options == wire.Options("K40", "Ver 6.60 Apr 28 2017", None, 901, None)


# --- commands -----------------------------------------------------------------------------------------------------


def test_an_idle_poll(terminal: Conversation) -> None:
    """Two bytes: a line end would make it an unknown command."""
    assert terminal.text("getrequest") == "OK"


def test_a_terminal_of_which_nothing_is_stored_begins_anew() -> None:
    """It was adopted while it called, or the ledger is new: it is requested once to fetch its options."""
    terminal = Conversation(marks={})
    assert terminal.text("getrequest").endswith(":CHECK\n")
    assert terminal.text("getrequest") == "OK"
    begun = Conversation(marks={})
    begun.options()
    assert begun.text("getrequest") == "OK"


def test_a_terminal_without_stamps_begins_anew_only_once(terminal: Conversation) -> None:
    """The first stored upload is remembered; its next ones are not marked again."""
    terminal = Conversation(marks={})
    terminal.text("cdata?table=ATTLOG", punch("7"))
    terminal.text("cdata?table=ATTLOG", punch("8"))
    assert [batch.mark for batch in terminal.batches] == [("ATTLOG", "0"), None]
    assert terminal.text("getrequest") == "OK"


def test_a_count(terminal: Conversation) -> None:
    """One command at a time; it is over with its result, so that the next poll fetches the next one."""
    command = terminal.session.request("VERIFY SUM ATTLOG", *DAY)
    assert command is not None
    assert terminal.session.request("VERIFY SUM ATTLOG", *DAY) is None
    text = "VERIFY SUM ATTLOG StartTime=2026-11-29 00:00:00\tEndTime=2026-11-29 23:59:59"
    assert terminal.text("getrequest") == f"C:{command.number}:{text}\n"
    assert terminal.text("getrequest") == "OK", "not sent again at once"
    assert terminal.text("devicecmd", f"ID={command.number}&Return=0&CMD=VERIFY SUM&AttlogCount=12".encode()) == "OK"
    assert command.is_over
    assert command.result is not None
    assert command.result.records == 12
    assert terminal.text("getrequest") == "OK"
    assert terminal.session.request("VERIFY SUM ATTLOG", *DAY) is not None


def test_a_command_without_a_result_is_repeated_and_fails(terminal: Conversation) -> None:
    """A terminal that was switched off has forgotten it."""
    command = terminal.session.request("VERIFY SUM ATTLOG", *DAY)
    assert command is not None
    first = terminal.text("getrequest")
    terminal.now_s += module.RESEND_S
    assert terminal.text("getrequest") == first
    terminal.now_s += module.COMMAND_S
    assert terminal.text("getrequest") == "OK"
    assert command.is_over
    assert command.result is None


def test_a_command_that_is_never_fetched_fails(terminal: Conversation) -> None:
    """The terminal may be gone."""
    command = terminal.session.request("VERIFY SUM ATTLOG", *DAY)
    assert command is not None
    terminal.now_s += module.COMMAND_S + 1
    terminal.session.expire()
    assert command.is_over


@pytest.mark.parametrize("code", [-1, -30, -1002])
def test_an_unsupported_command_is_not_sent_again(terminal: Conversation, code: int) -> None:
    """A result below 0 means that it does not know it."""
    command = terminal.session.request("VERIFY SUM ATTLOG", *DAY)
    assert command is not None
    terminal.text("getrequest")
    body = f"ID=9&Return=0&CMD=DATA\nID={command.number}&Return={code}&CMD=VERIFY SUM\n".encode()
    assert terminal.text("devicecmd", body + b"~DeviceName=K40\nComKey=9\n" * 200) == "OK"
    assert command.is_over
    assert terminal.session.request("VERIFY SUM ATTLOG", *DAY) is None
    assert terminal.text("getrequest") == "OK"


def test_a_busy_terminal_is_requested_again(terminal: Conversation) -> None:
    """It could not upload what was requested, for example: that ends this request, not all later ones."""
    command = terminal.session.request("DATA QUERY ATTLOG", *DAY)
    assert command is not None
    terminal.text("getrequest")
    terminal.text("devicecmd", f"ID={command.number}&Return=-1005&CMD=DATA QUERY ATTLOG\n".encode())
    assert command.is_over
    assert terminal.session.request("DATA QUERY ATTLOG", *DAY) is not None


def test_results_of_other_commands_are_ignored(terminal: Conversation) -> None:
    """An earlier process may have sent them, or anybody."""
    command = terminal.session.request("VERIFY SUM ATTLOG", *DAY)
    assert command is not None
    terminal.text("getrequest")
    terminal.text("devicecmd", b"ID=12345&Return=0&CMD=VERIFY SUM&AttlogCount=0")
    assert command.result is None


def test_requested_punches_do_not_move_the_stamp(terminal: Conversation) -> None:
    """A live punch in between is a delivery like any other."""
    command = terminal.session.request("DATA QUERY ATTLOG", *DAY)
    assert command is not None
    assert terminal.text("getrequest").startswith(f"C:{command.number}:DATA QUERY ATTLOG")
    old = punch("7", "2026-11-29 07:00:00") + b"broken\n"
    assert terminal.text("cdata?table=ATTLOG&Stamp=100", old) == "OK: 2"
    assert terminal.text("cdata?table=ATTLOG&Stamp=200", punch("8", "2026-11-30 07:00:00")) == "OK: 1"
    assert [batch.mark for batch in terminal.batches] == [None, ("ATTLOG", "200")]
    terminal.text("devicecmd", f"ID={command.number}&Return=0&CMD=DATA QUERY ATTLOG".encode())
    terminal.text("getrequest")
    assert (command.is_over, command.lines) == (True, 2)


def test_requested_punches_count_once_and_when_they_are_stored(terminal: Conversation) -> None:
    """Else a batch that was refused and sent again would stand for another one that never came."""
    command = terminal.session.request("DATA QUERY ATTLOG", *DAY)
    assert command is not None
    terminal.text("getrequest")
    some = [punch(str(pin), "2026-11-29 07:00:00") for pin in range(1, 6)]
    terminal.is_stored = False
    assert terminal.send("cdata?table=ATTLOG&Stamp=100", b"".join(some)).status == 503
    assert command.lines == 0
    terminal.is_stored = True
    assert terminal.text("cdata?table=ATTLOG&Stamp=100", b"".join(some)) == "OK: 5"
    assert terminal.text("cdata?table=ATTLOG&Stamp=100", b"".join(some[:3])) == "OK: 3", "the reply was lost"
    assert command.lines == 5
    assert terminal.text("cdata?table=ATTLOG&Stamp=100", some[4] * 2) == "OK: 2", "the terminal holds it twice"
    assert command.lines == 6


def test_the_stamp_of_a_span_is_not_stored(terminal: Conversation) -> None:
    """Some firmware repeats the span of the request in its upload, also after the command was over."""
    target = "cdata?table=ATTLOG&Stamp=900&StartTime=2026-11-29&EndTime=2026-11-30"
    assert terminal.text(target, punch("7", "2026-11-29 07:00:00")) == "OK: 1"
    assert [batch.mark for batch in terminal.batches] == [None]


def test_an_empty_span(terminal: Conversation) -> None:
    """Some firmware answers -1 where there is nothing; the command is known all the same."""
    command = terminal.session.request("DATA QUERY ATTLOG", *DAY)
    assert command is not None
    terminal.text("getrequest")
    terminal.text("devicecmd", f"ID={command.number}&Return=-1&CMD=DATA QUERY ATTLOG".encode())
    terminal.text("getrequest")
    assert command.is_over
    assert terminal.session.request("DATA QUERY ATTLOG", *DAY) is not None


# --- the security dialect -----------------------------------------------------------------------------------------


def test_a_terminal_of_the_security_dialect(terminal: Conversation) -> None:
    """It registers, gets its options, and its passed verifications are punches."""
    assert terminal.text("cdata?options=all&DeviceType=acc&pushver=3.1.2") == "OK\n"
    code = terminal.text("registry", b"DeviceType=acc,~DeviceName=SpeedFace,FWVersion=3.1.6S")
    assert code == f"RegistryCode={wire.registry_code(SERIAL)}"
    assert terminal.session.options.model == "SpeedFace"
    assert "TransTables=Transaction\n" in terminal.text("push", b"")
    assert terminal.text("push") == terminal.text("push")
    assert terminal.text("cdata?options=all&DeviceType=acc").startswith("registry=ok\nRegistryCode=")
    events = (
        b"time=2026-11-30 07:01:02\tpin=7\tcardno=1\tevent=0\tinoutstatus=0\tverifytype=1\n"
        b"time=2026-11-30 07:01:03\tpin=7\tcardno=1\tevent=27\tinoutstatus=0\tverifytype=1\n"
        b"time=2026-11-30 07:01:04\tpin=0\tcardno=0\tevent=5\tinoutstatus=0\tverifytype=200\n"
    )
    assert terminal.text("cdata?table=rtlog", events) == "OK"
    assert terminal.pins() == ["7"]


def test_tables_of_the_security_dialect(terminal: Conversation) -> None:
    """They are discarded; the form of the answer adapts to the terminal."""
    target, body = "cdata?table=tabledata&tablename=user&count=2", b"user uid=1\tpin=7\nuser uid=2\tpin=8\n"
    assert [terminal.text(target, body) for _ in range(3)] == ["user=2", "user=2", "OK"]
    assert terminal.text("querydata?type=tabledata&tablename=biophoto&count=1", b"biophoto pin=7\n") == "biophoto=1"
    assert terminal.batches == []


def test_events_in_a_table_of_the_security_dialect(terminal: Conversation) -> None:
    """The events hold punches however they are announced."""
    line = b"time=2026-11-30 07:01:02\tpin=7\tcardno=1\tevent=0\tinoutstatus=0\tverifytype=1\n"
    assert terminal.text("cdata?table=tabledata&tablename=rtlog&count=1", line) == "rtlog=1"
    assert terminal.pins() == ["7"]


def test_nothing_is_requested_in_the_security_dialect(terminal: Conversation) -> None:
    """Its queries are not proven."""
    terminal.text("cdata?table=rtstate", b"time=2026-11-30 07:00:00\tsensor=00\n")
    assert terminal.session.request("VERIFY SUM ATTLOG", *DAY) is None
