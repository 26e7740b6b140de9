"""What people run with `accelerate launch`; from Python they are `unispeech_ft.recipes`."""
