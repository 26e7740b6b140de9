"""How fast the toolkit is beside `transformers.Trainer`, on the same model, clips, update size and precision."""
