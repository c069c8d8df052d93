"""What a study found: incumbents, final evaluation, statistics, figures, and the page that shows them.

Importing this package costs nothing; `write_report` imports what draws when it is called.
"""

from grownn_hpo.report.record import ArmRecord, Failure, labelled
from grownn_hpo.report.write import write_report

__all__ = ["ArmRecord", "Failure", "labelled", "write_report"]
