"""An arm, or a study, in the forms that other programs open: one way, from its files alone, rewritten whole each time.

Importing this package costs nothing; `write_mirror` imports what writes when it is called.
"""

from grownn_hpo.report.mirror.targets import Mirror, Target
from grownn_hpo.report.mirror.write import write_mirror

__all__ = ["Mirror", "Target", "write_mirror"]
