"""Installs the library `iss_rnns` and the three tasks that use it."""

import setuptools

TASK_FILES = ["*.json", "*.md", "flags/*.flags", "results/*"]

setuptools.setup(
    name="iss-rnns",
    version="1.0.0",
    description="Intrinsic Sparse Structures and pruning for recurrent "
                "networks: train sparse, shrink, export small models",
    license="Apache-2.0",
    python_requires=">=3.9,<3.12",
    packages=setuptools.find_packages(
        include=["iss_rnns*", "ptb*", "rhns*", "bidaf*"]),
    package_data={
        "iss_rnns": ["results/*.json"],
        "ptb": TASK_FILES,
        "rhns": TASK_FILES,
        "bidaf": TASK_FILES,
    },
    install_requires=[
        "tensorflow==2.15.1",
        "tensorflow-addons==0.23.0",
        "numpy<2",
        "absl-py",
        "tqdm",
    ],
    extras_require={
        "tests": ["pytest", "pytest-xdist"],
        "plots": ["matplotlib"],
        "bidaf": ["nltk>=3.9"],
        "sparse": ["numba", "scipy"],
        "mkl": ["mkl", "sparse_dot_mkl"],
    },
)
