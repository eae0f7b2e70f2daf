"""What a unit is: which slices of which variables belong to it."""

from iss_rnns.groups.find import find_groups
from iss_rnns.groups.find import Groups
from iss_rnns.groups.find import Refused
from iss_rnns.groups.grids import BlockGrid
from iss_rnns.groups.grids import JoinedGrid
from iss_rnns.groups.group import blocks
from iss_rnns.groups.group import check_groups
from iss_rnns.groups.group import Cut
from iss_rnns.groups.group import Group
from iss_rnns.groups.group import keep_masks
from iss_rnns.groups.group import read
from iss_rnns.groups.group import Slice
from iss_rnns.groups.group import unique_variables
from iss_rnns.groups.group import Values
from iss_rnns.groups.group import whole
from iss_rnns.groups.registry import register_cell
from iss_rnns.groups.registry import register_layer
