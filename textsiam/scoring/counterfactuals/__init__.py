"""Edits of texts by rule: some change the meaning, some keep it."""
