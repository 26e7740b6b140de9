"""One self-contained HTML page about a result: no network, light and dark, for keyboard and phone.

`report_html` is the only entry: `data`, `groups` and `figures` decide what it tells; `templates/`, `style.css` and
`*.js` show it.
"""

from unispeech_ft.scoring.report.data import Recordings
from unispeech_ft.scoring.report.figures import Curves, parse_curves
from unispeech_ft.scoring.report.page import report_html, write_report

__all__ = ["Curves", "Recordings", "parse_curves", "report_html", "write_report"]
