"""The layers of Keras, by what they do: each module enters its own into the table of `base`."""
