"""Stage two: train a student on cached views and targets; no teacher can be reached from here."""
