"""Programs that tests run and no wheel has: Debian's packages, which `.ci/packages` installs."""

import os
import shutil

import pytest


def program(name: str, package: str) -> str:
    """The path of a program. Without it, the test is skipped, and fails in continuous integration."""
    found = shutil.which(name)
    if found is not None:
        return found
    reason = f"{name} is not installed; it is in Debian's package {package}: .ci/packages"
    if os.environ.get("REQUIRE_PACKAGES"):
        pytest.fail(reason)
    pytest.skip(reason)


def promtool() -> str:
    """The checker of rules, configurations and metrics of Prometheus."""
    return program("promtool", "prometheus")
