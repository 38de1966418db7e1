"""Why a score is what it is: what each word adds, and the differences that embeddings hardly see."""
