"""Models as files that run without this package."""

from iss_rnns.export.saved_model import bytes_of
from iss_rnns.export.saved_model import variables_of
from iss_rnns.export.saved_model import write_saved_model
