"""A whole sweep: teacher, search, confirmation, and the report at the end."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from kdtrain import EpochReport, Machine, train
from kdtrain.loop.device import check_device
from kdtrain.redact import redacted
from sweeps.attempt.attempt import staged
from sweeps.attempt.inputs import Inputs
from sweeps.attempt.signals import Interrupted, StopRequest, stop_on_signals
from sweeps.attempt.teachers import Fit, Teacher, fit_here, prepare_teacher, present_teacher
from sweeps.calibrate import Measure, calibrate, measure_here
from sweeps.check import check, foreign_notice
from sweeps.driver.driver import Driver
from sweeps.driver.growth import as_begun, check_begun
from sweeps.launch.inline import run_inline
from sweeps.ledger.environment import TrainContext, describe_data, describe_environment, describe_teacher
from sweeps.ledger.read_state import read_state
from sweeps.ledger.sweep_events import Command
from sweeps.outcome.failures import failed_by_cause
from sweeps.outcome.results import Results, conclude
from sweeps.outcome.stale import mark_results
from sweeps.outcome.words import read_words
from sweeps.rehearsals import Perform, perform_here, rehearse_sweep
from sweeps.show.counter import class_counter
from sweeps.show.next_step import next_step
from sweeps.show.printer import Printer, outlasting_output
from sweeps.show.progress import Display, points
from sweeps.show.watchers import make_watchers
from sweeps.spec.spec import SweepSpec, load_spec
from sweeps.store.folder_kinds import FolderKind, require_kind
from sweeps.store.lock import take_lock
from sweeps.store.store import Store, open_store
from sweeps.student_costs import cost_here, measure_students
from sweeps.trackers.find import make_feeds


@dataclass(frozen=True)
class Place:
    """Where rehearsals, calibrations, the teacher and the trials run: in this process, or on a Ray cluster."""

    fit: Fit
    run_trials: Callable[[Driver, Machine, Callable[[], None], Teacher | None], None]
    rehearse: Perform
    measure: Measure


def run_sweep(
    spec: SweepSpec | Path | str,
    sweep: Store | Path | str,
    machine: Machine | None = None,
    *,
    address: str | None = None,
    inline: bool = False,
    rehearsal: bool = True,
    console: Console | None = None,
    stop: StopRequest | None = None,
    command: str | None = None,
) -> Results:
    """Run a sweep to its end, or resume the sweep in the given folder.

    `kdsweep run` calls this function. Ctrl-C, SIGTERM and SIGUSR1 stop the sweep in
    an orderly way: running trials save checkpoints, and the same call resumes them.

    Args:
        spec: A spec, or the path of its YAML file.
        sweep: The folder `D` of the sweep, or a URI such as `s3://bucket/runs/a`; made if missing.
        machine: Device, data folder, cache and so on; by default from the environment variables.
        address: A running Ray cluster, as `auto` or `host:port`; without it Ray is started on this machine.
        inline: Run one trial after the other in this process, without Ray.
        rehearsal: Take one step of every distinct network and method before the first training, unless that was done
            before.
        console: Where progress is printed; standard output by default, nothing with `Console(quiet=True)`.
        stop: A request to stop the sweep; by default signals to this process make the request.
        command: The line for a shell that calls this function; `kdsweep status` prints it as what resumes the sweep.

    Returns:
        The paths of the report and `best.yaml`, and the chosen config with its evidence.

    Raises:
        InputError: If an argument, the spec, the data or the teacher is wrong; before any training where possible.
        SweepAborted: If all trials fail in the same way.
        StorageError: If a file cannot be written.
        Interrupted: If a stop was requested; all trials are saved.
    """
    spec = spec if isinstance(spec, SweepSpec) else load_spec(spec)
    listening: AbstractContextManager[StopRequest] = stop_on_signals() if stop is None else nullcontext(stop)
    console = console or Printer()
    with outlasting_output(console), listening as stopped:
        sweep, machine = open_store(sweep), machine or Machine()
        return _run(spec, sweep, machine, console, stopped, address, inline, rehearsal, command)


def _run(
    spec: SweepSpec,
    sweep: Store,
    machine: Machine,
    console: Console,
    stop: StopRequest,
    address: str | None,
    inline: bool,
    rehearsal: bool,
    line: str | None,
) -> Results:
    def notice(text: str) -> None:
        console.print(text, markup=False)  # messages of other libraries may hold brackets

    sweep.notice, sweep.gives_up = notice, lambda: stop.overdue
    check_device(machine.device, is_here=address is None)
    require_kind(sweep, FolderKind.SWEEP)
    known = read_state(sweep)
    begun = check_begun(spec, sweep, known.state)
    spec = as_begun(spec, begun)
    notice("checking the data, the teacher and the networks of the spec")
    with class_counter(console) as counted:

        def seen(role: str, done: int, total: int) -> None:
            if stop:
                raise Interrupted("before the first trial")
            counted(role, done, total)

        checked = check(spec, machine, seen, reads_test=begun.frozen is not None)
    if imports := foreign_notice():
        notice(imports)
    for sentence in checked.one_sided:
        notice(f"warning: {sentence}")
    watchers, feeds = make_watchers(spec, sweep), make_feeds(spec, sweep, notice)
    notice("opening the images")
    data = describe_data(spec.data, machine, spec.unlabelled)
    sweep.check_writable()
    processes = spec.resources.processes
    threads = machine.threads or max(1, int(spec.resources.cpu / processes))
    machine = machine.model_copy(update={"threads": threads, "processes": processes})
    with (
        closing(take_lock(sweep, notice)) as lock,
        ExitStack() as trackers,
        _place(inline, address, spec, sweep, machine, console, stop) as place,
    ):
        tests = begun.frozen is not None and spec.data.has_test
        as_it_was = begun.finished and begun.sweep.spec == spec.model_dump(mode="json")
        if rehearsal and (tests or not as_it_was):
            there, where = present_teacher(spec, sweep), "a cluster" if address else ""
            rehearsed = rehearse_sweep(spec, machine, there, notice, place.rehearse, where, stop, tests, checked.config)
            for sentence in rehearsed.lines:
                notice(sentence)
        teacher = prepare_teacher(spec, sweep, machine, place.fit)
        teacher_row = None
        if teacher is not None:
            source, card = "fitted" if spec.teacher_config else "given", teacher.card
            teacher_row = describe_teacher(card, source, spec.teacher_config)
            notice(f"teacher {card.digest}: {_score_text(card.miou)} on {card.role or 'no data'}")
            machine = machine.model_copy(update={"teacher": teacher.store.local})
        machine = checked.replay.on(machine)
        inputs = Inputs(spec, machine, data["digests"], teacher)
        command: Command | None = None
        if line is not None:
            command = {"line": redacted(line), "folder": str(Path.cwd()), "sweep": sweep.place}
        context = TrainContext(data, describe_environment(machine), teacher_row, command)
        for feed in feeds:
            trackers.callback(feed.close)
        with (
            Display(spec, notice, console, folder=str(sweep)) as display,
            Driver(
                spec,
                sweep,
                context,
                notice,
                lock=lock,
                watchers=(display, *watchers, *feeds),
                check_config=checked.config,
                lacking=inputs.lacking,
                judge=read_words,
                known=known,
                cost_of=lambda student: cost_here(spec, student, len(checked.classes), checked.image_size, machine),
            ) as driver,
        ):
            mark_results(sweep)
            measure_students(driver)
            calibrate(driver, machine, teacher, place.measure)
            place.run_trials(driver, machine, display.update, teacher)
            state, finished = driver.state, driver.state.finished
            failed = failed_by_cause(driver.state.trials.values(), driver.state.frozen is not None)
            unfinished = sum(trial.state.is_unfinished for trial in driver.state.trials.values())
    if not finished:
        saved = f"{unfinished} trial{' is' if unfinished == 1 else 's are'} saved in the middle"
        raise Interrupted(saved if unfinished else "between two trials")
    results = conclude(spec, sweep, machine, teacher)
    decide = "" if results.best is None else results.best["evidence"]["verdict"].get("decide", "")
    return replace(results, failed=failed, next_step=next_step(sweep, spec, state, decide))


@contextmanager
def _place(
    inline: bool,
    address: str | None,
    spec: SweepSpec,
    sweep: Store,
    machine: Machine,
    console: Console,
    stop: StopRequest,
) -> Iterator[Place]:
    def print_teacher_epoch(report: EpochReport) -> None:
        console.print(f"teacher: epoch {report.epoch}/{report.epochs}  {_score_text(report.metrics.get('miou'))}")

    in_process = fit_here(print_teacher_epoch, lambda: bool(stop))
    if inline:

        def run_here(driver: Driver, machine: Machine, on_step: Callable[[], None], teacher: Teacher | None) -> None:
            if teacher is not None and teacher.store.local is None:
                local = staged(teacher.store, teacher.card.digest, machine.cache)
                machine = machine.model_copy(update={"teacher": local})
            run_inline(driver, train, machine, on_step, stop)

        yield Place(in_process, run_here, perform_here, measure_here(stop))
        return
    from sweeps.launch.calibrate import measure_on_ray
    from sweeps.launch.cluster import check_resources, cluster, cluster_line
    from sweeps.launch.nodes import check_nodes
    from sweeps.launch.rehearse import rehearse_on_ray
    from sweeps.launch.sharing import sharing_gpus
    from sweeps.launch.tune import fit_on_ray, run_on_ray

    with sharing_gpus(spec.resources, address is None, sweep.notice), cluster(address, stop, sweep.notice):
        sweep.notice(cluster_line())
        check_resources(spec.resources, on_this_machine=address is None)
        if address is not None:
            check_nodes(sweep, sweep.notice)

        def run_there(driver: Driver, machine: Machine, on_step: Callable[[], None], teacher: Teacher | None) -> None:
            remote = teacher is not None and (address is not None or teacher.store.local is None)
            run_on_ray(driver, machine, on_step, stop, teacher if remote else None)

        on_cluster = in_process if address is None else fit_on_ray(spec.resources, print_teacher_epoch, stop)
        # A process that has used a GPU keeps some of its memory, so the driver uses none.
        keeps_memory = torch.cuda.is_available() and machine.device != "cpu"
        as_task = address is not None or keeps_memory
        rehearse = rehearse_on_ray(spec.resources, stop) if as_task else perform_here
        measure = measure_on_ray(spec.resources, stop) if as_task else measure_here(stop)
        yield Place(on_cluster, run_there, rehearse, measure)


def _score_text(miou: float | None) -> str:
    return "not evaluated" if miou is None else f"mIoU {points(miou)}"
