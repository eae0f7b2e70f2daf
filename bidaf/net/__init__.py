"""The parts of the net."""
