"""Does hashtag pretraining buy a detector recognition or localization? Importing this loads nothing heavy."""

__version__ = "0.1.0"
