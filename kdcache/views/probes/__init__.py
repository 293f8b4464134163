"""Small images of every kind that decoders disagree on; ``fingerprint`` reads them."""
