"""The harness on which all programs run; the library never imports it."""
