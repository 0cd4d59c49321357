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

default_role = "code"  # docstrings quote code with single backticks
maximum_signature_line_length = 88
nitpicky = True
# Types of other projects: their documentation is not linked, since the build is offline.
nitpick_ignore_regex = [
    ("py:.*", r"(annotated_types|collections|mteb|numpy|pathlib)\..*"),
    ("py:.*", r"(pydantic|torch|transformers|types)\..*"),
    ("py:.*", r"Path|Literal|Annotated|SerializeAsAny|Tensor|tuple\[\w+"),
    ("py:.*", "WhisperForConditionalGeneration"),
    # Names of types that stand for others, and internal classes in signatures.
    ("py:.*", r"DType|Engine|ExportedType|Extra|Family|Numbers|Padding|Sparsity"),
    (
        "py:.*",
        r"(.*\.)?(CheckpointConfig|CommandResult|FrontEndSettings|HashedFiles|HeadConfig)",
    ),
    ("py:.*", r"(s3prl_compress\..*\.)?(ModelT|VarianceComponents)"),
    ("py:.*", r"s3prl_compress\..*\.(Config|MethodFunction|WhisperMethod|Module|Value|_\w+)"),
]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "s3prl_compress"
html_static_path: list[str] = []
html_show_sourcelink = False
html_copy_source = False
