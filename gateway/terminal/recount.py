"""Compares what a terminal counts in its log with the ledger, and lets it deliver again what the ledger lacks.

For terminals that bring their records by themselves and have no positions (:class:`drivers.base.Recountable`). Each
request is answered minutes later, while deliveries are stored as always; so this advances by one step at a time.
"""

from datetime import datetime

from drivers.base import Recountable
from gateway.event import utc_text
from gateway.terminal.context import TerminalContext
from gateway.terminal.recount_plan import Explained, RecountPlan, Step


class Recount:
    """The recounts of one terminal."""

    def __init__(self, context: TerminalContext) -> None:
        self._context = context
        self._explained: Explained = {}
        self._plan: RecountPlan | None = None
        self._begun: datetime | None = None
        """When the recount began; None where the gateway's clock could not be trusted."""
        self._requested: tuple[Step, int] | None = None
        """The step under way, and the records of its span in the ledger before it."""

    @property
    def is_running(self) -> bool:
        """Whether a recount is under way."""
        return self._plan is not None

    def begin(self) -> None:
        """Begin a recount, unless one is under way."""
        if self._plan is not None:
            return
        clock = self._context.clock
        now = clock.now()
        self._begun = now if clock.synchronised() else None
        self._plan = RecountPlan(now.astimezone(self._context.zone).date(), self._explained)
        self._requested = None

    def forget(self) -> None:
        """Give up the recount under way, and forget earlier ones: another device answers."""
        self._plan = self._requested = None
        self._explained.clear()

    def advance(self, terminal: Recountable) -> bool:
        """Take an answer, if there is one, and make the next request; return whether the recount ended with it."""
        plan = self._plan
        if plan is None:
            return False
        if self._requested is not None:
            answer = terminal.answer()
            if answer is None:
                return False
            (step, before), self._requested = self._requested, None
            plan.answered(answer.records, before, self._held(step))
        step_now = plan.step
        if step_now is None:
            self._finish(plan)
            return True
        before = self._held(step_now)
        if terminal.request(*step_now.span.limits, again=step_now.again):
            self._requested = (step_now, before)
        return False

    def _held(self, step: Step) -> int:
        return self._context.ledger.count_days(self._context.state.serial or "", *step.span)

    def _finish(self, plan: RecountPlan) -> None:
        """Report the result, and advance the watermark where everything that the terminal holds is stored.

        The watermark is the begin of the recount: each span was counted after it, and agreed.
        """
        context, state, self._plan = self._context, self._context.state, None
        if plan.failed:
            context.log.info("recount_unanswered", counted=plan.counted)
            return
        missing = sum(plan.missing.values())
        context.log.info("recount_finished", counted=plan.counted, new=plan.recovered, missing=missing)
        state.last_full_reading = context.clock.now()
        state.reconciliation = {
            "at": utc_text(state.last_full_reading),
            "records": plan.counted,
            "new": plan.recovered,
            "missed": plan.recovered,
            "invented": 0,
            "reordered": 0,
            "unconfirmed": 0,
        }
        if plan.recovered:
            counts = {"missed": plan.recovered, "invented": 0, "moved": 0}
            context.incident("log_differs", logged=counts, values=counts)
        if plan.missing:
            days = ", ".join(str(span.first) for span in sorted(plan.missing)[:3])
            values: dict[str, object] = {"records": missing, "days": days}
            context.incident("records_not_delivered", logged=values, values=values)
        if plan.agrees and self._begun is not None:
            context.advance_watermark(self._begun)
