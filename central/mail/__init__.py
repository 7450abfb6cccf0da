"""Mails: a daily digest to superiors and alarms to operators, counts and a link only."""
