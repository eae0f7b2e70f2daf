"""Six recurrent models, half of whose units are dead, given to each library.

`python -m benchmarks.rivals` runs each library in an environment of its own.
"""
