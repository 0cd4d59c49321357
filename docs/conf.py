"""Settings of the documentation site: `make docs` writes `docs/_build/html`.

The build is strict (every warning is an error) and needs no network: no intersphinx, no web fonts.
"""

from __future__ import annotations

import sys
from pathlib import Path

from s3prl_compress.version import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

project = "s3prl_compress"
author = "the s3prl_compress authors"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    *(path.stem for path in sorted((HERE / "_extensions").glob("*.py"))),
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3

nitpicky = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "s3prl_compress"
html_static_path: list[str] = []
html_show_sourcelink = False
html_copy_source = False
