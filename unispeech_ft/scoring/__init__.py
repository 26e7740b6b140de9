"""From frames to a PER with its evidence: greedy decoding, alignment, PER, bootstrap, files and report."""

from unispeech_ft.scoring.alignment import Alignment, align, distance
from unispeech_ft.scoring.bootstrap import Interval, bootstrap_per
from unispeech_ft.scoring.files import format_summary, metric_path, read_phone_file, score_files
from unispeech_ft.scoring.greedy import Segment, blank_share, collapse, collapse_batch, segments
from unispeech_ft.scoring.per import UtteranceScore, corpus_per, score, shuffled_per
from unispeech_ft.scoring.report import report_html
from unispeech_ft.scoring.summary import (
    GREEDY_RULE,
    TEXT_RULE,
    Summary,
    read_hypotheses,
    reference_sha256,
    summarize,
    write_results,
)

__all__ = [
    "GREEDY_RULE",
    "TEXT_RULE",
    "Alignment",
    "Interval",
    "Segment",
    "Summary",
    "UtteranceScore",
    "align",
    "blank_share",
    "bootstrap_per",
    "collapse",
    "collapse_batch",
    "corpus_per",
    "distance",
    "format_summary",
    "metric_path",
    "read_hypotheses",
    "read_phone_file",
    "reference_sha256",
    "report_html",
    "score",
    "score_files",
    "segments",
    "shuffled_per",
    "summarize",
    "write_results",
]
