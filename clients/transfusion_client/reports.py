"""Reports as the client hands them out: the shared record, and its rows as a data frame."""

from typing import TYPE_CHECKING

from transfusion_core.errors import NotFound
from transfusion_core.specs.report import Report as ReportRecord
from transfusion_core.specs.report import ReportSection

if TYPE_CHECKING:
    import pandas as pd


class Report(ReportRecord):
    """The answer to an experiment."""

    def section(self, name: str) -> ReportSection:
        """One section; NotFound names those that there are."""
        if name not in self.sections:
            raise NotFound(f"the report has no section {name!r}; it has {', '.join(self.sections) or 'none'}")
        return self.sections[name]

    def to_frame(self, section: str | None = None) -> "pd.DataFrame":
        """The rows of one section, or of all with a column `section`, as a pandas data frame.

        Columns in which no row has a value are left out. ImportError where pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame() needs pandas: pip install pandas") from error
        if section is not None:
            rows = [row.model_dump() for row in self.section(section).table]
        else:
            rows = [{"section": name, **row.model_dump()} for name, s in self.sections.items() for row in s.table]
        return pd.DataFrame(rows).dropna(axis="columns", how="all")
