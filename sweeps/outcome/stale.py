"""Whether the tables of a sweep say less, or something else, than its ledger; and marks on results that may."""

import contextlib
import shlex
from html import escape

from kdtrain.errors import InputError
from sweeps.ledger.extent import noted_in_tables, read_head
from sweeps.spec.strict_yaml import parse_yaml
from sweeps.store.store import Store

_MARK = "# Out of date:"


def stale_tables(sweep: Store) -> str | None:
    """A sentence for a reader of the tables, if they were not made from all records of the ledger.

    Args:
        sweep: The sweep; only what the ledger's driver and the tables have noted is read.
    """
    made, head = noted_in_tables(sweep), read_head(sweep)
    if made is None or head is None or made == head.extent:
        return None
    command = f"`kdsweep tables {shlex.quote(str(sweep))}`"
    if made.records < head.extent.records:
        return (
            f"the tables were made from {made.records} of the {head.extent.records} records of the ledger; "
            f"{command} makes them anew"
        )
    return f"the tables were made from {made.records} records, not all of which the ledger has: {command} says more"


def written_verdict(sweep: Store) -> tuple[str, str] | None:
    """The headline of the report and what would decide, as `best.yaml` has them; none where more is known by now."""
    made, head = noted_in_tables(sweep), read_head(sweep)
    if made is None or head is None or made != head.extent or not sweep.exists("best.yaml"):
        return None
    content = sweep.read("best.yaml").decode(errors="replace")
    if content.startswith(_MARK):
        return None
    with contextlib.suppress(InputError, KeyError, TypeError):  # somebody else has written into it
        verdict = parse_yaml(content, "best.yaml")["evidence"]["verdict"]
        return str(verdict["headline"]), str(verdict.get("decide", ""))
    return None


def mark_results(sweep: Store) -> None:
    """Say in the page and in `best.yaml` that a session has begun since; the end of the session writes both anew.

    A session that is cut short leaves them with this mark: their words are about fewer trainings than there are now.

    Raises:
        StorageError: If a file cannot be written.
    """
    text = "made before the last session of the sweep began; kdsweep {} {} says what is known now"
    place = shlex.quote(str(sweep))
    page, best = text.format("report", place), text.format("best", place)
    _insert(sweep, "report/index.html", "<main>", f'<p class="stale"><b>Out of date:</b> {escape(page)}.</p>')
    _insert(sweep, "best.yaml", "", f"{_MARK} {best}.\n")


def _insert(sweep: Store, key: str, after: str, mark: str) -> None:
    """Put a mark into a file, once; a file that is not there gets none."""
    if not sweep.exists(key):
        return
    content, place = sweep.read(key), after.encode()
    marked = place + mark.encode()
    if place in content and marked not in content:
        sweep.write(key, content.replace(place, marked, 1))
