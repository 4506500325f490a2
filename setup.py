"""The viewer's page and the compiled averages; the rest is pyproject.toml's."""

import os
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).parent))  # an isolated build does not look here by itself

from service.viewer.build import BuildFailed, build_bundle


class BuildWithViewer(build_py):
    """A machine without Node gets a package without the page, and a warning."""

    def run(self) -> None:
        try:
            build_bundle()
        except BuildFailed as error:
            self.warn(f"the viewer is left out: {error}")
        self.__dict__.pop("data_files", None)  # listed before the bundle was there
        super().run()


# One file serves all Pythons from 3.11 on, but for those without an interpreter's lock.
IS_LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")

# A machine without a C compiler gets a package that averages by SciPy, to the same bits: hence no
# multiplications and additions fused into one.
AVERAGES = Extension(
    "wsi._area",
    ["wsi/_area.c"],
    define_macros=[("Py_LIMITED_API", "0x030B0000")] if IS_LIMITED else [],
    extra_compile_args=["-O3", "-ffp-contract=off"] if os.name == "posix" else [],
    py_limited_api=IS_LIMITED,
    optional=True,
)

setup(
    cmdclass={"build_py": BuildWithViewer},
    ext_modules=[AVERAGES],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if IS_LIMITED else {},
)
