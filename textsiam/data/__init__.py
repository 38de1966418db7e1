"""Sentences come in: checked columns (``Texts``, ``Pairs``) and the readers that fill them."""
