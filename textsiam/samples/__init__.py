"""Hand-written support questions and pairs, so that the first command needs no file.

Nothing in textsiam is fitted on them. ``questions.csv`` has the columns ``id,question,group,trap``. Rows of one group ask the
same thing. ``trap`` marks rows that look like another but ask something else (negation, number, entity, near_miss).
``pairs.csv`` has the columns ``question1,question2,is_duplicate,trap``.
"""

from pathlib import Path

QUESTIONS = Path(__file__).with_name("questions.csv")
PAIRS = Path(__file__).with_name("pairs.csv")
