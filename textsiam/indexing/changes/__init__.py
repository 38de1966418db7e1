"""Changes of an index: texts come and go, clusters follow, vectors are made again, damage is mended."""
