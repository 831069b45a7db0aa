"""Only the C extensions: their flags, and what is said if they cannot build.

Everything else about the package is in pyproject.toml.
"""

import shutil
import sys
import sysconfig
from pathlib import Path

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

WITH_NUMPY = {
    "include_dirs": [numpy.get_include()],
    "define_macros": [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
}


class ExactBuild(build_ext):
    """Builds without licence to fuse or reorder arithmetic, and fails in one plain sentence."""

    def run(self) -> None:
        try:
            super().run()
        except (BaseError, CCompilerError) as error:
            sys.exit(f"\nfasthardmax was not installed: {self._what_is_missing(error)}")

    def build_extension(self, ext: Extension) -> None:
        if self.compiler.compiler_type == "msvc":
            ext.extra_compile_args = ["/O2", "/fp:precise"]
        else:
            ext.extra_compile_args = ["-O3", "-ffp-contract=off"]
        super().build_extension(ext)

    def _what_is_missing(self, error: Exception) -> str:
        header = Path(sysconfig.get_path("include"), "Python.h")
        if not header.exists():
            return f"Python's C headers are missing (no {header}); install them and try again."
        command = getattr(self.compiler, "compiler_so", None)
        if command and not shutil.which(command[0]):
            return f"no C compiler was found (tried {command[0]!r}); install one and try again."
        if isinstance(error, CCompilerError):
            return "the C compiler failed; what it said stands above."
        return str(error)


setup(
    ext_modules=[
        Extension("fasthardmax._crew", ["fasthardmax/_crew.pyx"]),
        Extension("fasthardmax._labels", ["fasthardmax/_labels.pyx"]),
        Extension("fasthardmax._peaks", ["fasthardmax/_peaks.pyx"], **WITH_NUMPY),
        Extension("fasthardmax._settled_kernels", ["fasthardmax/_settled_kernels.pyx"]),
        Extension(
            "fasthardmax.engines._compiled", ["fasthardmax/engines/_compiled.pyx"], **WITH_NUMPY
        ),
        *(
            Extension(
                f"fasthardmax._caching.{name}",
                [f"fasthardmax/_caching/{name}.pyx"],
                **WITH_NUMPY,
            )
            for name in (
                "tree",
                "store",
                "log",
                "winners",
                "line",
                "plane",
                "fringe",
                "entry",
                "undo",
                "hit",
                "sorting",
                "bulk",
                "slab",
                "prompt",
                "rough",
                "scores",
                "spread",
                "ahead",
                "check",
                "rewind",
                "layer",
                "core",
                "called",
            )
        ),
    ],
    cmdclass={"build_ext": ExactBuild},
)
