"""Docstrings of the fields of models, as descriptions of options.

pydantic can read them too (``use_attribute_docstrings``), but does so whenever a class is defined: it searches and
parses the source of each, which is more than half of the time in which the configuration's modules are imported.
"""

import ast
import inspect
import textwrap
from contextlib import suppress
from itertools import pairwise

from pydantic import BaseModel


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Return field → docstring, for the model and the classes it derives from; nothing of a class without source."""
    docs: dict[str, str] = {}
    for parent in reversed(model.__mro__):
        if not issubclass(parent, BaseModel) or parent is BaseModel:
            continue
        with suppress(OSError, TypeError):  # there is no source, or it was made by ``create_model``
            docs |= _docs_in(inspect.getsource(parent))
    return {name: text for name, text in docs.items() if name in model.model_fields}


def _docs_in(source: str) -> dict[str, str]:
    """Return field → docstring of a class statement."""
    (statement,) = ast.parse(textwrap.dedent(source)).body
    docs = {}
    for field, following in pairwise(statement.body if isinstance(statement, ast.ClassDef) else ()):
        match field, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = inspect.cleandoc(text)
    return docs
