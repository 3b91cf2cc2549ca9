"""MKL's matrix product, as Paddle's CPU build brings it, for the compiled loops."""

import ctypes
import functools
from pathlib import Path
from typing import Any

LIBRARY = Path("libs", "libmklml_intel.so")  # in paddle's folder
ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112  # cblas.h


def available() -> bool:
    """Tell whether there is a matrix product to call."""
    return _functions() is not None


def functions() -> tuple[Any, Any]:
    """Return cblas_sgemm and mkl_set_num_threads_local for numba, where they are available.

    They are arguments of the kernels, not globals: what is compiled can then be kept on disk.
    """
    found = _functions()
    assert found is not None
    return found


@functools.cache
def _functions() -> tuple[Any, Any] | None:
    """Find them; None where paddle brings no MKL."""
    import numba.experimental.function_type  # noqa: F401  makes numba accept such arguments
    from numba import types

    class Foreign(types.WrapperAddressProtocol):
        """A C function at an address."""

        def __init__(self, address: int, signature: Any):
            self.address, self.declared = address, signature

        def __wrapper_address__(self) -> int:
            return self.address

        def signature(self) -> Any:
            return self.declared

    try:
        import paddle  # loads the OpenMP library, without which MKL's cannot be loaded
    except ImportError:
        return None
    try:
        library = ctypes.CDLL(str(Path(paddle.__file__).parent / LIBRARY))
        pointers = library.cblas_sgemm, library.MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):
        return None
    addresses = [ctypes.cast(pointer, ctypes.c_void_p).value for pointer in pointers]
    i, f, p = types.int32, types.float32, types.uintp
    sgemm = types.void(i, i, i, i, i, i, f, p, i, p, i, f, p, i)
    return Foreign(addresses[0] or 0, sgemm), Foreign(addresses[1] or 0, types.int32(i))
