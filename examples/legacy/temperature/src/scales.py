TO_CELSIUS = {
    "celsius": lambda value: value,
    "fahrenheit": lambda value: (value - 32) / 1.8,
    "kelvin": lambda value: value - 273.15,
}
FROM_CELSIUS = {
    "celsius": lambda value: value,
    "fahrenheit": lambda value: value * 1.8 + 32,
    "kelvin": lambda value: value + 273.15,
}


def convert(value, source, target):
    return FROM_CELSIUS[target](TO_CELSIUS[source](value))
