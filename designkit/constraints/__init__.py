"""Hard constraints of designs: what must be kept, what may not occur.

``ConstraintSettings`` is what a user writes; ``compile`` turns it into ``Constraints`` of one
alphabet and one length, which samplers obey and which every finished design is checked against.
Positions are counted from 1, both ends of a range included.
"""

from designkit.constraints._check import Share
from designkit.constraints.compiled import Constraints
from designkit.constraints.settings import ConstraintSettings

__all__ = ["ConstraintSettings", "Constraints", "Share"]
