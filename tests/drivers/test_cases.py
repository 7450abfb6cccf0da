"""What terminals that call, and web services of terminals, must be answered: each case, and the tests that show it.

Terminals that speak PUSH:

1. A first request of 2.4.1 gets its options, no other server, and the end of the connection
   tests/drivers/push/test_session.py::test_the_answer_to_the_first_request
   tests/drivers/push/test_wire.py::test_the_first_options
   tests/drivers/receiver/test_listener.py::test_what_terminals_send_gets_the_same_short_reply
2. HTTP/1.0 without Host and pushver, and the suffix .aspx: the same options, headers as old firmware reads them
   tests/drivers/push/test_session.py::test_the_answer_to_the_first_request
   tests/drivers/receiver/test_http.py::test_a_reply_is_what_old_firmware_reads_byte_for_byte
   tests/drivers/receiver/test_http.py::test_headers_that_old_firmware_cannot_read_are_not_sent
3. The header Date leaves where clocks are set and the own one is trusted, else never; so does the answer to type=time
   tests/drivers/push/test_session.py::test_no_date_leaves_unless_the_clock_is_to_be_set
   tests/drivers/push/test_session.py::test_the_date_where_the_clock_is_set
4. Zones are whole hours, or minutes
   tests/drivers/push/test_session.py::test_the_zone_is_that_of_the_terminal
   tests/drivers/push/test_wire.py::test_time_zones_are_whole_numbers
5. Four fields without a table; the stamp is sent back
   tests/drivers/push/test_session.py::test_four_fields_and_a_stamp
6. Six forms of a line in one body
   tests/drivers/push/test_wire.py::test_forms_in_one_body
   tests/drivers/push/test_wire.py::test_every_form_of_a_punch
7. Personal fields are kept nowhere
   tests/drivers/push/test_wire.py::test_fields_from_the_eighth_on_are_in_no_result
   tests/drivers/push/test_day.py::test_a_whole_day
8. Bad lines count, are quarantined, and are the same records when they come again
   tests/drivers/push/test_session.py::test_bad_lines_count
   tests/drivers/push/test_wire.py::test_bad_lines_keep_their_bytes
   tests/drivers/push/test_day.py::test_a_whole_day
9. NUL and high bytes in one of three lines
   tests/drivers/push/test_session.py::test_nul_and_high_bytes
10. A lost reply: the same lines in other pieces with other stamps are stored once
   tests/gateway/terminal/test_push.py::test_faults
   tests/gateway/ledger/test_arrivals.py::test_one_punch_by_several_ways_is_one_event
   tests/drivers/push/test_day.py::test_a_whole_day
11. A cut upload is neither stored nor acknowledged, and its stamp does not move
   tests/drivers/receiver/test_listener.py::test_a_cut_upload_is_neither_stored_nor_acknowledged
   tests/drivers/push/test_session.py::test_what_is_not_stored_is_not_acknowledged
12. A full ledger, a failing commit, no worker: 503 without OK; killed between commit and reply: no punch twice
   tests/gateway/terminal/test_push.py::test_a_full_disk_refuses_and_recovers
   tests/drivers/receiver/test_listener.py::test_a_known_terminal_whose_worker_does_not_run_repeats_later
   tests/gateway/terminal/test_push.py::test_killed_between_the_commit_and_the_reply
13. Operations, users and templates in one body: acknowledged by their lines, on no disk, memory flat for 20 MB
   tests/drivers/push/test_session.py::test_operations_and_templates_are_discarded
   tests/gateway/terminal/test_push.py::test_faults
   tests/drivers/receiver/test_listener.py::test_a_body_of_20_mb_leaves_the_memory_flat
14. A photo whose name is a path; the older resource for it; an interim reply where it is expected
   tests/drivers/push/test_session.py::test_personal_tables
   tests/drivers/receiver/test_listener.py::test_a_client_that_expects_an_interim_reply_gets_it_before_it_sends
15. Tables of enrolment; unknown tables with punches stay in the terminal, others are discarded
   tests/drivers/push/test_session.py::test_personal_tables
   tests/drivers/push/test_session.py::test_an_unknown_table_with_punches_stays_in_the_terminal
   tests/drivers/push/test_session.py::test_an_unknown_table_without_punches_is_discarded
16. An idle poll gets two bytes; over a whole day only commands that read are sent
   tests/drivers/push/test_session.py::test_an_idle_poll
   tests/drivers/push/test_day.py::test_a_whole_day
17. Results of several commands with options behind them: an unsupported one is not sent again, no password is kept
   tests/drivers/push/test_wire.py::test_results
   tests/drivers/push/test_session.py::test_an_unsupported_command_is_not_sent_again
   tests/drivers/push/test_wire.py::test_what_is_kept_of_a_terminals_options
18. An unknown serial number: 503 without OK, listed once; accepted after it was configured, without a power cycle
   tests/drivers/receiver/test_listener.py::test_strangers_are_held_listed_and_accepted_after_they_were_configured
   tests/drivers/push/test_session.py::test_a_terminal_of_which_nothing_is_stored_begins_anew
19. The security dialect: registry, options, passed verifications are punches, tables whose answer adapts
   tests/drivers/push/test_session.py::test_a_terminal_of_the_security_dialect
   tests/drivers/push/test_wire.py::test_denials_and_alarms_are_no_punches
   tests/drivers/push/test_session.py::test_tables_of_the_security_dialect
20. Questions about persons get no data; paths reach no file
   tests/drivers/push/test_session.py::test_questions_about_persons_are_answered_without_data
   tests/drivers/push/test_session.py::test_requests_that_need_nothing
   tests/drivers/push/test_session.py::test_unknown_paths

Web services:

1. Rows to the end of the stream; the request byte for byte
   tests/drivers/soap/test_wire.py::test_a_request_is_that_of_the_vendor
   tests/drivers/soap/test_terminal.py::test_the_web_service_alone
2. "No data!" where the count is 0
   tests/drivers/soap/test_terminal.py::test_an_empty_log
3. No rows where the count is not 0: a wrong key
   tests/drivers/soap/test_terminal.py::test_a_wrong_key_is_no_empty_log
4. No closing tag: not the whole log
   tests/drivers/soap/test_terminal.py::test_an_answer_without_its_end_is_no_log
   tests/drivers/soap/test_wire.py::test_without_its_closing_tag_an_answer_is_not_whole
5. Forms of rows
   tests/drivers/soap/test_wire.py::test_forms_of_rows
6. Bad rows, and their neighbours
   tests/drivers/soap/test_wire.py::test_what_is_no_punch_is_kept_in_its_place
   tests/drivers/soap/test_terminal.py::test_odd_rows_cost_themselves
7. A punch between count and reading
   tests/drivers/soap/test_terminal.py::test_a_punch_between_count_and_reading
8. A web server without the service
   tests/drivers/soap/test_terminal.py::test_a_web_server_without_the_service
9. Slow, silent and endless answers
   tests/drivers/soap/test_terminal.py::test_an_answer_without_end_is_left_in_time
   tests/drivers/soap/test_terminal.py::test_a_chunk_of_a_log_has_a_time_limit_and_the_whole_has_none
10. Chunks, a wrong length; only the expected requests leave
   tests/drivers/soap/test_wire.py::test_replies_of_http
   tests/drivers/soap/test_terminal.py::test_only_the_expected_requests_leave
"""

import re

from tests.test_guarantees import names_in

CASE = re.compile(r"^(\d+)\. .+\n((?:   tests/.+\n)+)", re.MULTILINE)


def test_every_case_has_tests_that_exist() -> None:
    """Twenty of PUSH, ten of the web service, none left out."""
    found = CASE.findall(__doc__ or "")
    named = [line.strip().partition("::") for _, tests in found for line in tests.splitlines()]

    assert [int(number) for number, _ in found] == [*range(1, 21), *range(1, 11)]
    assert [f"{path}::{name}" for path, _, name in named if name not in names_in(path)] == []
