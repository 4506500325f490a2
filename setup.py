"""Builds the viewer's page when the package is built or installed; the rest is pyproject.toml's."""

import sys
from pathlib import Path

from setuptools import setup
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


setup(cmdclass={"build_py": BuildWithViewer})
