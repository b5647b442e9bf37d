"""The functions of `keras.ops`, by what they do: each module enters its own into the table of `call`."""
