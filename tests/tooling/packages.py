"""Programs of the system that the tests start themselves: found, or installed by apt where that can be done."""

import glob
import os
import shutil

from . import tools
from .report import Failure

# Where Debian puts what only root is expected to start.
MORE_PLACES = ("/usr/sbin", "/usr/local/sbin")


def program(name, package=None):
    """The path of a program, installed first if it is missing."""
    package = package or name
    path = find(name)
    if not path:
        tools.apt_install(package)
        path = find(name)
    if not path:
        raise Failure(f"the package {package} is installed, but there is no {name}")
    return path


def faketime():
    """The library that shows a program another time, for LD_PRELOAD."""
    path = find_faketime()
    if not path:
        tools.apt_install("libfaketime")
        path = find_faketime()
    if not path:
        raise Failure("the package libfaketime is installed, but there is no libfaketimeMT.so.1")
    return path


def find_faketime():
    return next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)


def find(name):
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *MORE_PLACES)))
