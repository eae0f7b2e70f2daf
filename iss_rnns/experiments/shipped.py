"""Files that come with the programs: flag files, settings, groups.

They are found from any folder: beside the code, in a clone or installed.
"""

import pathlib
from typing import Optional

# What holds this package, and the tasks' beside it.
ROOT = pathlib.Path(__file__).parents[2]


def find(path: str, package: Optional[str], folder: str, suffix: str) -> str:
    """Where a file is that a user names.

    Args:
      path: of a file that is there, from where the program is started; else
        from the tasks' folders on, e.g. `ptb/flags/demo.flags`; else the name
        of one in the program's own, e.g. `demo`.
      package: the program's, e.g. 'ptb'.
      folder: of the package's files of this kind; '' for its own.
      suffix: of them; names may leave it out.

    Returns:
      The file's path; `path` where there is none.
    """
    given = pathlib.Path(path).expanduser()
    if given.exists() or given.is_absolute() or not given.name:
        return path
    places = []
    if (ROOT / given.parts[0] / "__init__.py").is_file():
        places += [ROOT / given]
    if package and len(given.parts) == 1:
        own = ROOT / package / folder
        places += [own / given, own / f"{given}{suffix}"]
    return next((str(place) for place in places if place.is_file()), path)
