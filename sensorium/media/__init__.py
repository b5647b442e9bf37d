"""Files to arrays and back: image, audio, text, video; and the preprocessing that the JSON files describe."""
