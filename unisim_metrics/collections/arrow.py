"""pyarrow for whoever reads or writes Parquet here, or what to install."""

from __future__ import annotations

from unisim_metrics.installation import install_extra

try:
    import pyarrow
    from pyarrow import parquet
except ImportError as error:
    raise ModuleNotFoundError(
        f"Collections are read from and written to Parquet, which needs pyarrow: {install_extra('collections')}."
    ) from error

__all__ = ["parquet", "pyarrow"]
