"""Dead units out of a model, with proof."""

from iss_rnns.shrinking.cutting import check_alive
from iss_rnns.shrinking.cutting import cut
from iss_rnns.shrinking.cutting import finite_norms
from iss_rnns.shrinking.cutting import living_units
from iss_rnns.shrinking.cutting import take
from iss_rnns.shrinking.equality import assert_equal_outputs
from iss_rnns.shrinking.equality import Difference
from iss_rnns.shrinking.proof import cut_and_prove
from iss_rnns.shrinking.proof import shrink
from iss_rnns.shrinking.proof import ShrinkReport
from iss_rnns.shrinking.slots import resized_optimizer
from iss_rnns.shrinking.worths import worth
