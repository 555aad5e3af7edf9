"""Contracts and fakes for tests of this package and of techniques written elsewhere; nothing here is imported by the rest."""
