"""The interactive notebooks."""
