"""`python -m iss_rnns`: the command `iss-rnns`."""

from iss_rnns import cli

cli.main()
