# SPDX-License-Identifier: MIT
"""What several tests of the layer use."""

import bb
import pytest


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts with which BitBake was told to end the build."""
    said: list[str] = []

    def fatal(*words: str) -> None:
        said.append(" ".join(words))
        raise bb.BBHandledException(*words)

    monkeypatch.setattr(bb, "fatal", fatal)
    return said
