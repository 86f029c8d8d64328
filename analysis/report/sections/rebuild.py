"""The commands that make the page again, and the fingerprint of the tables behind it."""

import hashlib
from html import escape
from pathlib import Path

from analysis.report.findings import Findings
from analysis.tables.commands import shared_by_commands
from analysis.tables.folder import FOLDER
from analysis.tables.schemas import SCHEMAS

_COMMANDS = (
    "kdsweep tables D                       # the tables again, from the ledger\n"
    "kdsweep report D                       # this page and report/paper/*\n"
    'kdsweep query D "select * from trials" # any other question to the tables\n'
    "kdsweep best D --out best.yaml         # the chosen config with its evidence\n"
)


def section(findings: Findings) -> str:
    """How to make the page, the tables and the student again."""
    shared = shared_by_commands(findings.tables)
    train = escape(f"{shared.before}kdsweep train best.yaml --dir student{shared.options}  # train it to the end")
    return (
        f"<p>With <code>D</code> for the folder of the sweep:</p><pre><code>{_COMMANDS}{train}</code></pre>"
        '<p class="aside">Fingerprint of the tables behind this page: '
        f"<code>{fingerprint(findings.folder)}</code>.</p>"
    )


def fingerprint(sweep: Path) -> str:
    """16 digits that differ where the tables of two sweeps differ."""
    digest = hashlib.sha256()
    for name in SCHEMAS:
        path = sweep / FOLDER / f"{name}.parquet"
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:16]
