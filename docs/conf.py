"""Settings of the documentation's build: `make docs`, with Sphinx, MyST and Furo."""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else importing it asks its maker's server for prices
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "guardrail-stream"
version = release = version_of("guardrail-stream")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "site_pages"]
exclude_patterns = ["_ext"]
source_suffix = {".md": "markdown"}
root_doc = "index"
nitpicky = False  # types of other libraries have no page here; Markdown links are checked all the same

myst_heading_anchors = 5
myst_links_external_new_tab = False

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
napoleon_use_ivar = True
napoleon_numpy_docstring = False
default_role = "code"  # docstrings are written with the single backticks of Markdown
add_module_names = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"guardrail-stream {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}

linkcheck_ignore = [r"http://(localhost|127\.0\.0\.1)"]  # addresses of examples
linkcheck_timeout = 20
linkcheck_retries = 2
