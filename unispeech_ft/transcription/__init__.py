"""From audio files of any length to phones with times."""
