"""Commands of `unispeech-ft` that are more than a few lines; `cli` names them all."""
