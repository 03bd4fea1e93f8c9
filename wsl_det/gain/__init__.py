"""What one detector gains over another: how much, how sure, and in recognition or localization."""

from __future__ import annotations
