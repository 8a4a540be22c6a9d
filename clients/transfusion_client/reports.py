"""Reports as the client hands them out: the shared record, its rows as a data frame, and all of it as files."""

import html
import json
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import PrivateAttr

from transfusion_client.connection import Connection
from transfusion_core.errors import NotFound
from transfusion_core.specs.report import Report as ReportRecord
from transfusion_core.specs.report import ReportDiff, ReportSection

if TYPE_CHECKING:
    import altair
    import pandas as pd


FORMS = ("html", "csv", "tex", "parquet")
PICTURES = ("svg", "png", "pdf")


class Report(ReportRecord):
    """The answer to an experiment."""

    _connection: Connection = PrivateAttr()

    @classmethod
    def fetch(cls, connection: Connection, experiment_id: str, *, digest: str | None = None) -> Self:
        """The report of an experiment, or an earlier one; NotReady until there is one."""
        place = "report" if digest is None else f"reports/{digest}"
        found = connection.read(cls, connection.get(f"/v1/experiments/{experiment_id}/{place}"))
        found._connection = connection
        return found

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

    def chart(self, name: str) -> "altair.Chart":
        """A chart, such as `figure-4`, to be shown, changed and laid over others.

        NotFound names the charts that there are. ImportError where Altair is not installed.
        """
        charts = {name: chart for section in self.sections.values() for name, chart in section.charts.items()}
        if name not in charts:
            raise NotFound(f"the report has no chart {name!r}; it has {', '.join(charts) or 'none'}")
        try:
            import altair
        except ImportError as error:
            raise ImportError("chart() needs Altair: pip install altair") from error
        made: altair.Chart = altair.Chart.from_dict(charts[name])
        return made

    def _repr_html_(self) -> str:
        """What a notebook shows: the sections' words, and the charts that there are."""
        parts = [f"<p><b>Report</b> <code>{self.digest[:12]}</code></p>"]
        for name, section in self.sections.items():
            charts = f" Charts: {', '.join(section.charts)}." if section.charts else ""
            parts.append(f"<p><b>{html.escape(name)}</b>: {html.escape(section.text)}{html.escape(charts)}</p>")
        return "".join(parts)

    def diff(self, against: str) -> ReportDiff:
        """What it says that the report of the experiment `against`, the earlier one, does not."""
        answer = self._connection.get(f"/v1/experiments/{self.experiment}/report/diff", against=against)
        return self._connection.read(ReportDiff, answer)

    def save(self, folder: str | Path) -> Path:
        """Write it into a folder, in every form: the path of its HTML file.

        Beside `report.html`, which is whole by itself: report.json, .csv, .parquet and .tex, its references as .bib,
        the spec that runs it again (`again.json`), and in `charts` each chart as JSON, SVG, PNG and PDF.
        """
        place = Path(folder).resolve()
        (place / "charts").mkdir(parents=True, exist_ok=True)
        (place / "report.json").write_text(self.model_dump_json(indent=1), encoding="utf-8")
        (place / "report.bib").write_text("\n".join(known.bibtex for known in self.references), encoding="utf-8")
        (place / "again.json").write_text(json.dumps(self.spec, indent=1), encoding="utf-8")
        for form in FORMS:
            self._write(place / f"report.{form}")
        for name, chart in [item for section in self.sections.values() for item in section.charts.items()]:
            (place / "charts" / f"{name}.json").write_text(json.dumps(chart), encoding="utf-8")
            for form in PICTURES:
                self._write(place / "charts" / f"{name}.{form}", folder="charts/")
        return place / "report.html"

    def _write(self, file: Path, *, folder: str = "") -> None:
        """One file as the service makes it."""
        file.write_bytes(self._connection.content(f"/v1/experiments/{self.experiment}/{folder}{file.name}"))
