"""Changes of an index: texts are added and removed, clusters follow, vectors are made again, damage is repaired."""
