"""Models as files that run without this package."""

from iss_rnns.export.exporting import export
from iss_rnns.export.exporting import Exported
from iss_rnns.export.language import Score
from iss_rnns.export.language import SentenceScore
from iss_rnns.export.language import TextModel
from iss_rnns.export.loading import as_text_model
from iss_rnns.export.loading import is_compressed
from iss_rnns.export.loading import load
from iss_rnns.export.loading import load_language_model
from iss_rnns.export.manifest import Manifest
from iss_rnns.export.onnx_model import ONNXModel
from iss_rnns.export.packed import read_packed
from iss_rnns.export.packed import write_packed
from iss_rnns.export.saved_model import bytes_of
from iss_rnns.export.saved_model import SavedModel
from iss_rnns.export.saved_model import variables_of
from iss_rnns.export.saved_model import write_saved_model
from iss_rnns.export.source import Source
from iss_rnns.export.tflite import TFLiteModel
from iss_rnns.export.tflite import write_tflite
from iss_rnns.export.vocabulary import Vocabulary
