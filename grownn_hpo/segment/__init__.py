"""One segment: load the parent's checkpoint, grow, train, evaluate, commit.

A segment is a function of its arm, its configuration, its seed and its rung. Every random stream has a seed of its own,
derived from the study's seed, the segment's seed, the rung, the stream's name and the leg, and from nothing else:
configurations and arms meet the same episodes, so that comparing them is paired.

A segment is trained in *legs*. At the *boundary* between two of them every attempt, interrupted or not, writes down
where it stands, takes the agent from what it wrote, and goes on in environments opened afresh with the seeds of the
next leg. So an attempt that begins at the boundary of a killed one comes to the same bits.
"""

from grownn_hpo.segment.entry import Verdict, attempt, run_segment
from grownn_hpo.segment.run import MOST_EVALUATORS, GrowthError, evaluators
from grownn_hpo.segment.streams import Stream, stream_seed

__all__ = ["MOST_EVALUATORS", "GrowthError", "Stream", "Verdict", "attempt", "evaluators", "run_segment", "stream_seed"]
