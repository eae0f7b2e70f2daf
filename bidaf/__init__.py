# Before TensorFlow: it sets how TensorFlow computes.
import iss_rnns  # pylint: disable=unused-import
