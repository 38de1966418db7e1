"""Reading sentences: checked columns (``Texts``, ``Pairs``, ``Triplets``) and the readers that fill them."""
