"""The built-in data set (Fashion-MNIST, a subset) and the recipe that ``kdcache demo`` runs on it."""
