"""The metric modules, one a file or close family, reached only through discovery."""
