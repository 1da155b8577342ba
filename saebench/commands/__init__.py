"""The subcommands of `saebench`: thin shells over library functions, none of which imports torch at its top."""
