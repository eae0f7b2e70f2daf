"""Installs the library and the three tasks; see pyproject.toml."""

import setuptools

setuptools.setup()
