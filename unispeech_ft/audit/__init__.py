"""What is wrong with speech and labels, found before any device is used."""
