"""A whole sweep: teacher, search, confirmation, and what follows from them."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from rich.console import Console

from kdtrain import EpochReport, Machine, train
from kdtrain.data import has_report
from sweeps.attempt.attempt import staged
from sweeps.attempt.signals import Interrupted, StopRequest
from sweeps.attempt.teachers import Fit, Teacher, fit_here, prepare_teacher
from sweeps.driver.driver import Driver, check_begun
from sweeps.launch.inline import run_inline
from sweeps.ledger.environment import TrainContext, describe_data, describe_environment, describe_teacher
from sweeps.outcome.results import Results, conclude
from sweeps.plan import check
from sweeps.show.progress import Display, points
from sweeps.spec.spec import SweepSpec
from sweeps.store.lock import take_lock
from sweeps.store.store import Store


@dataclass(frozen=True)
class Place:
    """Where teacher and trials are trained: this process, or a Ray cluster."""

    fit: Fit
    run_trials: Callable[[Driver, Machine, Callable[[], None], Teacher | None], None]


def run_sweep(
    spec: SweepSpec,
    sweep: Store,
    machine: Machine,
    console: Console,
    asked: StopRequest,
    address: str | None = None,
    inline: bool = False,
) -> Results:
    """Run a sweep to its end, or take it up where it was left.

    Args:
        spec: What to do.
        sweep: The sweep `D`.
        machine: Where and with what.
        console: Where progress is shown.
        asked: Whether to leave.
        address: A running Ray cluster; one of our own on this machine where none is given.
        inline: One trial after the other in this process, without Ray.

    Raises:
        InputError: If anything that was handed in is wrong; before any training where it can be known.
        SweepAborted: If all trials fail in the same way.
        StorageError: If something cannot be written any more.
        Interrupted: If it was asked to leave, and has.
    """
    sweep.notice, sweep.hurry = console.print, lambda: asked.overdue
    begun = check_begun(spec, sweep)
    checked = check(spec, machine)
    if begun.frozen is not None and has_report(spec.data):
        spec.data.open(machine.data_root).ids("report")  # whether they are there, before anything is trained for them
    data = describe_data(spec.data, machine, spec.unlabelled)
    sweep.check_writable()
    processes = spec.resources.processes
    threads = machine.threads or max(1, int(spec.resources.cpu / processes))
    machine = machine.model_copy(update={"threads": threads, "processes": processes})
    with (
        closing(take_lock(sweep, console.print)) as lock,
        _place(inline, address, spec, sweep, console, asked) as place,
    ):
        teacher = prepare_teacher(spec, sweep, machine, place.fit)
        about_teacher = None
        if teacher is not None:
            source, card = "fitted" if spec.teacher_config else "given", teacher.card
            about_teacher = describe_teacher(card, source, spec.teacher_config)
            console.print(f"teacher {card.digest}: {_said(card.miou)} on {card.role or 'nothing measured'}")
            machine = machine.model_copy(update={"teacher": teacher.store.local})
        machine = checked.replay.on(machine)
        context = TrainContext(data, describe_environment(machine), about_teacher)
        with Driver(spec, sweep, context, notice=console.print, lock=lock) as driver:
            with Display(spec, driver, console.print, console) as display:
                place.run_trials(driver, machine, display.update, teacher)
            finished = driver.state.finished
            saved = sum(trial.state in ("planned", "running") for trial in driver.state.trials.values())
    if not finished:
        raise Interrupted(
            f"{saved} trial{' is' if saved == 1 else 's are'} saved in the middle" if saved else "between two trials"
        )
    return conclude(spec, sweep, machine, teacher)


@contextmanager
def _place(
    inline: bool, address: str | None, spec: SweepSpec, sweep: Store, console: Console, asked: StopRequest
) -> Iterator[Place]:
    def tell(report: EpochReport) -> None:
        console.print(f"teacher: epoch {report.epoch}/{report.epochs}  {_said(report.metrics.get('miou'))}")

    here = fit_here(tell, lambda: bool(asked))
    if inline:

        def run_here(driver: Driver, machine: Machine, on_step: Callable[[], None], teacher: Teacher | None) -> None:
            if teacher is not None and teacher.store.local is None:
                machine = machine.model_copy(
                    update={"teacher": staged(teacher.store, teacher.card.digest, machine.cache)}
                )
            run_inline(driver, train, machine, on_step, asked)

        yield Place(here, run_here)
        return
    from sweeps.launch.nodes import check_nodes
    from sweeps.launch.tune import cluster, fit_on_ray, run_on_ray

    with cluster(address):
        if address is not None:
            check_nodes(sweep, console.print)

        def run_there(driver: Driver, machine: Machine, on_step: Callable[[], None], teacher: Teacher | None) -> None:
            far = teacher is not None and (address is not None or teacher.store.local is None)
            run_on_ray(driver, machine, on_step, asked, teacher if far else None)

        yield Place(here if address is None else fit_on_ray(spec.resources, tell, asked), run_there)


def _said(miou: float | None) -> str:
    return "not evaluated" if miou is None else f"mIoU {points(miou)}"
