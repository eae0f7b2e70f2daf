"""Recurrent nets as C99: one header and one source file, nothing else."""

from iss_rnns.export.c.model import check_name
from iss_rnns.export.c.model import CModel
