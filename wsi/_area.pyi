import numpy as np
from numpy.typing import NDArray

_Weights = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]

def average(
    rgb: NDArray[np.uint8], rows: _Weights, columns: _Weights, out: NDArray[np.uint8]
) -> None: ...
