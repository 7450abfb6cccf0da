"""The format of PUSH: punches in all their forms, what is cut from them, tables, options, commands."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import BadRecord, RawPunch, Record
from drivers.push import wire

at = datetime.fromisoformat
MOMENT = at("2026-11-30 07:01:02")
PERSONAL = b"\t0\t36.5\t97.7\t+25200\teyJsYXQiOi02LjIsImxvbiI6MTA2Ljh9"


def lines(body: bytes, step: int = 1 << 20) -> list[wire.CutLine]:
    """Return the lines of a body that arrives in pieces of ``step`` bytes."""
    reader = wire.LineReader()
    found = [line for at in range(0, len(body), step) for line in reader.feed(body[at : at + step])]
    found += reader.close()
    assert reader.count == len(found)
    return found


def records(body: bytes) -> list[Record | None]:
    """Return what each line of a body of punches holds."""
    return [wire.punch(line) for line in lines(body)]


def one(line: bytes) -> Record | None:
    """Return what one line holds."""
    (record,) = records(line)
    return record


FORMS = {
    "four": (b"0042\t2026-11-30 07:01:02\t0\t1", None),
    "seven": (b"0042\t2026-11-30 07:01:02\t0\t1\t0\t0\t0", "0"),
    "ten and a TAB": (b"0042\t2026-11-30 07:01:02\t0\t1\t0\t0\t0\t0\t0\t0\t", "0"),
    "CR LF": (b"0042\t2026-11-30 07:01:02\t0\t1\t\t0\t0\r", None),
    "pairs": (b"PIN=0042\tDateTime=2026-11-30 07:01:02\tStatus=0\tVerify=1\tWorkcode=", None),
    "pairs, another order": (b"Time=2026-11-30 07:01:02\tVerified=1\tStatus=0\tPIN=0042", None),
    "pairs with commas": (b"PIN=0042,DateTime=2026-11-30 07:01:02,Status=0,Verify=1", None),
    "T": (b"0042\t2026-11-30T07:01:02\t0\t1\t12", "12"),
    "the table's name in front": (b"ATTLOG\t0042\t2026-11-30 07:01:02\t0\t1", None),
    "blanks": (b" 0042 \t 2026-11-30 07:01:02 \t 0 \t 1 ", None),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_punch(form: str) -> None:
    """Each dialect's line is the same punch."""
    line, work_code = FORMS[form]
    found = one(line)
    assert isinstance(found, RawPunch)
    assert found[:6] == ("0042", None, MOMENT, 0, 1, work_code)
    assert found.raw.replace(b"ATTLOG\t", b"") in line


def test_forms_in_one_body() -> None:
    """Six lines of six dialects, the last without an end."""
    chosen = ("seven", "ten and a TAB", "CR LF", "pairs", "T", "four")
    found = records(b"\n".join(FORMS[form][0] for form in chosen))
    assert [type(record) for record in found] == [RawPunch] * 6


def test_two_fields_are_a_punch_without_codes() -> None:
    """A code that is not sent is None."""
    assert one(b"7\t2026-11-30 07:01:02") == RawPunch("7", None, MOMENT, None, None, None, b"7\t2026-11-30 07:01:02")


@pytest.mark.parametrize(
    "line",
    [
        b"0042\t2026-11-30 07:01:02\t0\t1\t0\t0\t0" + PERSONAL,
        b"0042\t2026-11-30 07:01:02\t0\t1\t0\t0\t0\t3174095505900001\t9",
        b"PIN=0042\tDateTime=2026-11-30 07:01:02\tTemperature=36.5\tMaskFlag=0\tIDNum=3174095505900001\tName=Siti",
        b"\t2026-11-30 07:01:02\t0\t1\t0\t0\t0" + PERSONAL,
        b"0042\t2026-02-31 07:01:02\t0\t1\t0\t0\t0" + PERSONAL,
        b"0042\tyesterday\tDateTime=1\t1\t0\t0\t0" + PERSONAL,
        b"PIN=\tDateTime=2026-11-30 07:01:02\tTemperature=36.5\tName=Siti",
        b"0042\t2026-11-30 07:01:02\t0\t1\t0\t0\t0\t" + b"36.5eyJsYXQi" * 1000,
        b"ATTLOG\t0042\t2026-11-30 07:01:02\t0\t1\t0\t0\t0" + PERSONAL,
    ],
)
def test_fields_from_the_eighth_on_are_in_no_result(line: bytes) -> None:
    """Temperature, mask, identity number and position, of punches and of lines that are none."""
    found = one(line)
    assert found is not None
    for secret in (b"36.5", b"97.7", b"25200", b"eyJ", b"3174095505900001", b"Siti"):
        assert secret not in repr(found).encode()
    assert found.raw


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"12\t2026-02-31 07:00:00\t0\t1", "date"),
        (b"12\t0000-00-00 00:00:00\t0\t1", "date"),
        (b"12\t2026-11-30 24:00:00\t0\t1", "date"),
        (b"12\t30/11/2026 07:00:00\t0\t1", "date"),
        (b"17\t12\t2026-11-30 07:00:00\t0\t1", "date"),
        (b"no tabs", "TAB"),
        (b"12,2026-11-30 07:00:00,0,1", "TAB"),
        (b"\t2026-11-30 07:00:00\t0\t1", "PIN"),
        (b"0\t2026-11-30 07:00:00\t0\t1", "PIN"),
        (b"\xc3\xa9\t2026-11-30 07:00:00\t0\t1", "PIN"),
        (b"12\x003\t2026-11-30 07:00:00\t0\t1", "PIN"),
        (b"1" * 25 + b"\t2026-11-30 07:00:00\t0\t1", "PIN"),
        (b"12\t2026-11-30 07:00:00\tin\t1", "state"),
        (b"12\t2026-11-30 07:00:00\t0\t-1", "verify"),
        (b"12\t2026-11-30 07:00:00\t0\t1\t\xff\xfe", "work code"),
    ],
)
def test_bad_lines_keep_their_bytes(line: bytes, reason: str) -> None:
    """Nothing is guessed; the line is a record of its own, and the same one each time."""
    found = one(line)
    assert isinstance(found, BadRecord)
    assert (found.raw, found.stable) == (line, line)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b"USER\tPIN=7\tName=Siti\tPasswd=1", b"PIN=7"),
        (b"FP\tPIN=7\tTMP=VEVNUExBVEU", b"PIN=7"),
        (b"PIN=7 Name=Siti\tDateTime=2026-11-30 07:00:00", b"PIN=7\tDateTime=2026-11-30 07:00:00"),
        (b"7,2026-11-30 07:00:00,0,1,0,0,0,3201234567890001,9", b"7,2026-11-30 07:00:00,0,1,0,0,0"),
        (b"7\t0000-00-00\t0\t1\t0\t0\t0\t36.5\tQUJD==", b"7\t0000-00-00\t0\t1\t0\t0\t0"),
    ],
)
def test_what_stands_among_punches_by_mistake_leaves_no_personal_data(line: bytes, kept: bytes) -> None:
    """Names, templates and identity numbers are cut from unusual lines, too; what is known of them is kept."""
    record = one(line)
    assert record is not None
    assert record.raw == kept
    assert not isinstance(record, RawPunch) or record.pin == "7"


def test_neighbours_of_bad_lines_are_read() -> None:
    """An empty line is none; four lines hold something."""
    body = b"\n12\t2026-02-31 07:00:00\t0\t1\nno tabs\n\t2026-11-30 07:00:00\t0\t1\n7\t2026-11-30 07:00:05\t0\t1\n"
    assert [type(record) for record in records(body)] == [BadRecord, BadRecord, BadRecord, RawPunch]


def test_codes_pass_without_a_meaning() -> None:
    """255 is a state like any other, and so is a verification of 200."""
    found = one(b"7\t2026-11-30 07:01:02\t255\t200\t0")
    assert isinstance(found, RawPunch)
    assert (found.state, found.verify) == (255, 200)


@pytest.mark.parametrize("line", [b"CHECK LOG: stamp=82983982", b"TableName=ATTLOG"])
def test_lines_of_old_firmware_that_are_no_records(line: bytes) -> None:
    """They count as lines and hold nothing."""
    assert records(line + b"\n") == [None]


@pytest.mark.parametrize("step", [1, 7, 1000, 16384])
def test_a_line_of_megabytes_costs_itself_alone(step: int) -> None:
    """Its beginning is kept, with its size and hash; what would be personal in it is cut like that of any line."""
    junk = b"x" * (1 << 16 if step == 1 else 10 * 1024 * 1024)
    body = b"7\t2026-11-30 07:00:05\t0\t1\n" + junk + b"\n8\t2026-11-30 07:00:06\t0\t1\n"
    first, long, last = lines(body, step)
    assert isinstance(wire.punch(first), RawPunch)
    assert isinstance(wire.punch(last), RawPunch)
    assert (len(long.text), long.size) == (wire.MAX_LINE, len(junk))
    found = wire.punch(long)
    assert isinstance(found, BadRecord)
    assert (found.size, len(found.sha256 or "")) == (len(junk), 64)


def test_a_long_tail_leaves_the_punch() -> None:
    """What is too long is behind the fields that are kept."""
    found = one(b"7\t2026-11-30 07:00:05\t0\t1\t0\t0\t0\t1\t" + b"QUJD" * 1000)
    assert isinstance(found, RawPunch)


def test_a_cut_pair_is_left_out() -> None:
    """A value whose end is unknown is no value."""
    found = one(b"PIN=7\tDateTime=2026-11-30 07:00:05\tx=" + b"y" * 1000 + b"\tStatus=1\tVerify=1")
    assert isinstance(found, RawPunch)
    assert (found.state, found.verify) == (None, None)


@given(st.binary(max_size=3000), st.integers(1, 400))
def test_lines_are_the_same_in_any_pieces(body: bytes, step: int) -> None:
    """No byte of a body decides by its place in a packet."""
    assert lines(body, step) == lines(body)
    counter = wire.LineCounter()
    for at in range(0, len(body), step):
        counter.feed(body[at : at + step])
    counted = sum(1 for line in body.split(b"\n") if line.rstrip(b"\r").strip(b" \t\0"))
    assert len(lines(body)) == counted
    assert counter.count == sum(1 for line in body.split(b"\n") if line.strip(b" \t\r\0"))


@given(st.binary(max_size=200))
def test_any_line_is_a_record_or_none(line: bytes) -> None:
    """No exception, and nothing of a punch that the line does not hold."""
    for found in records(line):
        if isinstance(found, RawPunch):
            assert found.pin is not None
            assert found.pin.encode() in line
    for cut in lines(line):
        wire.event(cut)


# --- the security dialect -----------------------------------------------------------------------------------------

EVENT = (
    "time=2026-11-30 07:01:02\tpin=7\tcardno=8877\tsitecode=0\tlinkid=0\teventaddr=1\tevent={}\tinoutstatus=0"
    "\tverifytype=1\tindex=21"
)


@pytest.mark.parametrize("code", [0, 3, 19, 200, 253, 4000, 4999])
def test_passed_verifications_are_punches(code: int) -> None:
    """The card's number is not kept."""
    (line,) = lines(EVENT.format(code).encode())
    found = wire.event(line)
    assert isinstance(found, RawPunch)
    assert found[:6] == ("7", None, MOMENT, 0, 1, None)
    assert b"8877" not in found.raw
    assert b"index=21" in found.raw


@pytest.mark.parametrize("code", [20, 27, 99, 100, 199, 254, 3999, 5000, 6999])
def test_denials_and_alarms_are_no_punches(code: int) -> None:
    """They are left out without a trace."""
    (line,) = lines(EVENT.format(code).encode())
    assert wire.event(line) is None


@pytest.mark.parametrize("pin", ["", "0"])
def test_an_event_without_a_person_is_no_punch(pin: str) -> None:
    """A door that opens, for example."""
    (line,) = lines(EVENT.format(0).replace("pin=7", f"pin={pin}").encode())
    assert wire.event(line) is None


def test_events_between_commas_and_a_verification_in_bits() -> None:
    """The order varies; sixteen binary digits are no code."""
    text = b"pin=7,event=0,time=2026-11-30 07:01:02,verifytype=0000000000001001,inoutstatus=1"
    (line,) = lines(text)
    assert wire.event(line) == RawPunch("7", None, MOMENT, 1, None, None, text)


def test_an_event_without_a_code_is_quarantined() -> None:
    """It may be a punch."""
    (line,) = lines(b"time=2026-11-30 07:01:02\tpin=7")
    assert isinstance(wire.event(line), BadRecord)


def test_rows_of_the_table_transaction() -> None:
    """The packed time and the other names of the fields."""
    packed = wire.packed(MOMENT)
    (line,) = lines(
        f"transaction cardno=1\tpin=7\tverified=1\teventtype=0\tinoutstate=1\ttime_second={packed}".encode()
    )
    found = wire.event(line)
    assert isinstance(found, RawPunch)
    assert (found.local_time, found.state, found.verify) == (MOMENT, 1, 1)


@given(st.datetimes(at("2000-01-01"), at("2103-12-31")))
def test_packed_times(moment: datetime) -> None:
    """Packing and unpacking are inverse, to the second."""
    moment = moment.replace(microsecond=0)
    assert wire.unpacked(wire.packed(moment)) == moment


# --- tables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "parameters", "expected"),
    [
        ("cdata", {"table": "ATTLOG", "stamp": "9999"}, ("punches", "attlog", "ATTLOG", "9999", False)),
        ("cdata", {"stamp": "864975662"}, ("punches", "attlog", "ATTLOG", "864975662", False)),
        ("cdata", {"opstamp": "82983982"}, ("drained", "operlog", "OPERLOG", "82983982", False)),
        ("cdata", {"table": "OPERLOG", "stamp": "5"}, ("drained", "operlog", "OPERLOG", "5", False)),
        ("fdata", {"table": "ATTPHOTO", "photostamp": "5"}, ("photo", "attphoto", "ATTPHOTO", "5", False)),
        ("fdata", {}, ("photo", "attphoto", "ATTPHOTO", None, False)),
        ("cdata", {"table": "BIODATA"}, ("drained", "biodata", None, None, False)),
        ("cdata", {"table": "options"}, ("options", "options", None, None, False)),
        ("cdata", {"table": "rtlog"}, ("events", "rtlog", None, None, False)),
        ("cdata", {"table": "rtstate"}, ("state", "rtstate", None, None, False)),
        ("cdata", {"table": "tabledata", "tablename": "user", "count": "2"}, ("drained", "user", None, None, True)),
        ("querydata", {"type": "tabledata", "tablename": "transaction"}, ("punches", "transaction", None, None, True)),
        ("cdata", {"table": "XYZLOG"}, ("unknown", "xyzlog", None, None, False)),
        ("cdata", {"table": "../../etc\r\nX: y"}, ("unknown", "..?..?etc??x??y", None, None, False)),
        ("cdata", {}, ("unknown", "", None, None, False)),
    ],
)
def test_what_an_upload_holds(endpoint: str, parameters: dict[str, str], expected: tuple[object, ...]) -> None:
    """By its table, and by the stamps of firmware that names none."""
    assert tuple(wire.upload(endpoint, parameters)) == expected


@pytest.mark.parametrize("stamp", ["1\nICLOCKSVRURL=http://evil", "a b", "", "9" * 33, "1\r"])
def test_a_stamp_that_could_be_another_option_is_not_kept(stamp: str) -> None:
    """It is sent back in a list of lines."""
    assert wire.upload("cdata", {"table": "ATTLOG", "stamp": stamp}).stamp is None


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"12\t2026-11-30 07:00:00\t0\t1\n", True),
        (b"x\n12\t2026-11-30 07:00:00\r\n", True),
        (b"pin=7\ttime=2026-11-30 07:00:00", True),
        (b"DateTime=2026-11-30 07:00:00\tPIN=7", True),
        (b"user pin=7\tname=Siti\tpassword=1", False),
        (b"A=1\tB=2\n", False),
        (b"\x00\xff" * 100, False),
        (b"", False),
    ],
)
def test_whether_an_unknown_table_may_hold_punches(head: bytes, expected: bool) -> None:
    """A date in the second field, or a person with a time."""
    assert wire.may_hold_punches(head) is expected


# --- options ------------------------------------------------------------------------------------------------------


def block(stamps: dict[str, str], hours: float = 7) -> list[str]:
    """Return the lines of the answer to a terminal that begins."""
    text = wire.option_block("SYN0000000001", stamps, timedelta(hours=hours)).decode("ascii")
    assert text.endswith("\n")
    assert "\r" not in text
    return text.splitlines()


def test_the_first_options() -> None:
    """Stamps of 0 in the names of all dialects, only punches, and no other server."""
    found = block({})
    assert found[0] == "GET OPTION FROM: SYN0000000001"
    assert {"Stamp=0", "ATTLOGStamp=0", "OpStamp=0", "OPERLOGStamp=0", "PhotoStamp=0", "ATTPHOTOStamp=0"} <= set(found)
    assert {"TimeZone=7", "TransFlag=TransData AttLog", "Realtime=1", "Encrypt=0", "ServerVer=2.4.1"} <= set(found)
    assert not any("ICLOCKSVRURL" in line or line.startswith(("PushOptions", "MultiBio")) for line in found)


def test_stamps_are_sent_back_as_they_were() -> None:
    """Also those of tables that are discarded."""
    found = block({"ATTLOG": "864975662", "OPERLOG": "9999"})
    assert {"Stamp=864975662", "ATTLOGStamp=864975662", "OpStamp=9999", "OPERLOGStamp=9999", "PhotoStamp=0"} <= set(
        found
    )


@pytest.mark.parametrize(("hours", "expected"), [(7, 7), (8, 8), (9, 9), (5.5, 330), (-3.5, -210), (0, 0), (-5, -5)])
def test_time_zones_are_whole_numbers(hours: float, expected: int) -> None:
    """Hours, or minutes where it is not whole hours."""
    assert f"TimeZone={expected}" in block({}, hours)


def test_what_is_kept_of_a_terminals_options() -> None:
    """A value may hold a comma; passwords are not kept."""
    body = (
        b"~DeviceName=X903,MAC=00:17:61:00:00:01,~OEMVendor=X, LTD,TransactionCount=812,~MaxAttLogCount=10,"
        b"FWVersion=Ver 6.60 Apr 28 2017,ComKey=9,~Platform=ZMM510_TFT"
    )
    assert wire.options(body) == wire.Options("X903", "Ver 6.60 Apr 28 2017", "ZMM510_TFT", 812, 1000)


@pytest.mark.parametrize("body", [b"", b"ComKey=9", b"\xff" * 5000, b"FWVersion="])
def test_options_without_anything_known(body: bytes) -> None:
    """Nothing is invented."""
    assert wire.options(body) == wire.Options()


def test_what_a_poll_states() -> None:
    """Firmware and number of records, before an address and more."""
    assert wire.info("Ver 6.60 Apr 28 2017,12,30,900,10.1.2.9,10") == wire.Options(
        firmware="Ver 6.60 Apr 28 2017", records=900
    )
    assert wire.info("").over(wire.Options(model="K40")) == wire.Options(model="K40")


# --- commands -----------------------------------------------------------------------------------------------------

SPAN = (at("2026-11-29 00:00:00"), at("2026-11-29 23:59:59"))


def test_a_command() -> None:
    """TAB between parameters, LF at the end."""
    assert wire.command(17, "DATA QUERY ATTLOG", SPAN) == (
        b"C:17:DATA QUERY ATTLOG StartTime=2026-11-29 00:00:00\tEndTime=2026-11-29 23:59:59\n"
    )


@pytest.mark.parametrize("verb", ["CLEAR LOG", "DATA DELETE USERINFO", "REBOOT", "SHELL ls", "", "data query attlog"])
def test_other_commands_cannot_be_sent(verb: str) -> None:
    """The allow-list is checked where commands are made."""
    with pytest.raises(ValueError, match="not an allowed command"):
        wire.command(1, verb)


def test_no_command_of_the_list_changes_a_terminal() -> None:
    """A reader of this list sees at once what may be sent."""
    assert {"DATA QUERY ATTLOG", "VERIFY SUM ATTLOG", "CHECK"} == wire.ALLOWED


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"ID=a1&Return=0&CMD=DATA\nID=a2&Return=-1002&CMD=VERIFY SUM\n", [("a1", 0, None), ("a2", -1002, None)]),
        (
            (
                b"ID=7&Return=0&CMD=VERIFY SUM ATTLOG&StartTime=2026-11-29 00:00:00"
                b"&EndTime=2026-11-29 23:59:59&AttlogCount=12\n"
            ),
            [("7", 0, 12)],
        ),
        (b"ID=7&Return=0&CMD=VERIFY SUM&AttlogSum=3\r\n", [("7", 0, 3)]),
        (b"ID=7&Return=0&CMD=VERIFY SUM\nAttlogCount=0\n", [("7", 0, 0)]),
        (b"ID=7&Return=0&CMD=VERIFY SUM\nAttlogSum=99\nAttlogCount=12\n", [("7", 0, 12)]),
        (b"id=7&return=0&cmd=INFO\n~DeviceName=X\nComKey=9\n", [("7", 0, None)]),
        (b"ID=1&Return=0&CMD=VERIFY SUM\nID=2&Return=0&CMD=VERIFY SUM&AttlogCount=5", [("1", 0, None), ("2", 0, 5)]),
        (b"\xff\xfe", []),
    ],
)
def test_results(body: bytes, expected: list[tuple[str, int, int | None]]) -> None:
    """Several in one body; what follows them is not kept."""
    assert [tuple(result) for result in wire.results(body)] == expected


def test_the_security_dialects_options() -> None:
    """A code that fits into 32 characters; punches only."""
    assert len(wire.registry_code("SYN0000000001")) <= 32
    text = wire.security_block("SYN0000000001", "ABC", registered=True).decode("ascii")
    assert text.startswith("registry=ok\nRegistryCode=")
    assert "TransTables=Transaction\n" in text
    assert "User" not in text
    assert "SessionID=ABC\n" in text
