"""An untuned start learns: held-out average precision from chance upward, from random weights, on labelled question pairs.

Random initialisation with the default's architecture; qqp_pairs train with its own recipe's loss, tested on qqp_pairs dev
after every `--every` updates. Chance is the share of duplicates.

    python benchmarks/from_scratch.py [--epochs 4] [--every 110]   # recorded: --epochs 1 --every 44
"""

import argparse

from record import SHARED, record

from textsiam import Siamese, read_pairs, train
from textsiam.encoding.model_folder.finding import embedded_model


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--every", type=int, default=110)
    asked = parser.parse_args()
    pairs, dev = (read_pairs(SHARED / "qqp_pairs.parquet", split=part) for part in ("train", "dev"))
    n_steps = asked.epochs * (len(pairs) // 64)
    tuned = train(
        Siamese.load(embedded_model(), dtype="float32"),
        pairs,
        validation=dev,
        random_start=True,
        epochs=asked.epochs,
        evaluations=max(1, n_steps // asked.every),
    )
    told = tuned.training
    metrics = told["metrics"]["validation"]
    record(
        "from_scratch",
        __doc__.splitlines()[0],
        {
            "train_rows": told["split"]["train_rows"],
            "chance": round(float(dev.labels.mean()), 4),
            "before": metrics["before"],
            "curve": told["validation_curve"],
            "best": metrics["after"],
            "hyperparameters": told["hyperparameters"],
        },
        0,
    )


if __name__ == "__main__":
    main()
