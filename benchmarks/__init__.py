from iss_rnns.experiments import environment

environment.prepare()  # before TensorFlow is imported
