"""The mathematics of the model: where it rests, what is stable, which waves grow, what a step does. `rdmf analyze`.

Everything here is a closed form over NumPy arrays in float64, except `model` (coefficients out of a model) and
`spacetime` (the fields of one video, step by step).
"""
