# SPDX-License-Identifier: MIT
"""What EventBatch is in the terms of other packages. They are imported when they are asked for and not before."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aa_fileio._native import EventBatch

__all__ = ["to_arrow", "to_pandas", "to_polars"]


def _load(name: str, method: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ModuleNotFoundError(
            f"EventBatch.{method}() needs {name}, which is not installed: pip install {name}", name=name
        ) from error


def to_arrow(batch: EventBatch) -> Any:
    """A pyarrow.RecordBatch over the same memory."""
    return _load("pyarrow", "to_arrow").record_batch(batch)


def to_pandas(batch: EventBatch) -> Any:
    """A pandas.DataFrame. Integers are pandas' own nullable ones: a float, its way otherwise, cannot hold an inode."""
    pandas, pyarrow = _load("pandas", "to_pandas"), _load("pyarrow", "to_pandas")
    integers = {
        getattr(pyarrow, name.lower())(): getattr(pandas, f"{name}Dtype")()
        for name in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
    }
    return pyarrow.record_batch(batch).to_pandas(types_mapper=integers.get)


def to_polars(batch: EventBatch) -> Any:
    """A polars.DataFrame."""
    return _load("polars", "to_polars").DataFrame(batch)
