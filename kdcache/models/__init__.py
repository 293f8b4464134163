"""What teachers and students share: how a view becomes a network's input."""

from kdcache.models.preprocess import InputSpec, Preprocess, input_spec_of

__all__ = ["InputSpec", "Preprocess", "input_spec_of"]
