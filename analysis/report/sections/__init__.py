"""The sections of the report."""

from analysis.extras import require

require("report", "the report")
