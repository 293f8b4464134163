"""The command line: parse, build settings, make one call, echo. Nothing here is worth a unit test."""
