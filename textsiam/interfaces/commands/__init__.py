"""The commands: one file per verb, and for groups of verbs (audit, index) one or two files per group."""
