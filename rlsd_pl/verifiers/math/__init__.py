"""Reading and comparing final answers of mathematics problems. Imports nothing heavy: worker processes use it too."""
