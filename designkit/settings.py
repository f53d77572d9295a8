"""Pydantic base classes for everything a user can set."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen settings: command-line options, preset keys and Python arguments in one schema."""

    model_config = ConfigDict(frozen=True, extra="forbid")
