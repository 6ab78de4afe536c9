"""The one thing that setup.cfg has no words for: the compiled kernel of the look-up.

It is optional: without a compiler the package installs all the same, and searches with NumPy, exactly and more slowly.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "hashmatch.index._kernel",
            ["hashmatch/index/_kernel.c"],
            depends=["hashmatch/index/_kernel_body.h"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
