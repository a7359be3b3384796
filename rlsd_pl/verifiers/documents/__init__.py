"""JSON as data: a strict reader, schemas, equality. Imports nothing heavy: worker processes use it too."""
