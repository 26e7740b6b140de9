"""English prompts, written for this project: frames for each split, and the words that fill them."""

from unispeech_ft.testing.prompts.frames import PromptBook

_NAMES = """Alice Benjamin Charlotte Daniel Edith Frederick Georgia Harold Imogen Jonathan Kathleen Lewis Margaret
Nathan Olivia Patrick Rosemary Stephen Thomas Ursula Victor Winifred Yvonne Zachary Judith Hugh Joyce Beth"""
_TOWNS = """Oxford Bristol Chester Dover Exeter Falmouth Glasgow Hastings Ipswich Jarrow Kendal Leicester Norwich
Plymouth Reading Sheffield Taunton Worcester York Cambridge Bath Durham"""
_PLACES = """the_market the_school the_river the_beach the_garden the_kitchen the_church the_forest the_museum
the_mountain the_village the_harbour the_library the_castle the_bakery the_bridge the_orchard the_theatre the_square"""
_ANIMALS = """cat dog horse duck pig rabbit bird fox lamb lion monkey hedgehog fish tiger donkey swan wolf badger mouse
bear goose sheep thrush"""
_THINGS = """book pencil knife hat basket picture umbrella mirror cushion ring drum bucket coat comb violin glass watch
vase shoe glove table lamp chair suitcase window key spoon bottle skirt ladder jug blanket box cage"""
_FOODS = """bread cheese rice fish ham honey soup salad eggs cherries beans onions mushrooms walnuts grapes garlic
chocolate juice lettuce porridge butter milk toast oil sausages yoghurt"""
_COLOURS = "red yellow pink orange purple black white green grey blue brown golden"
_QUALITIES = "large huge strange strong ancient useful fragile simple clean friendly famous rare cheerful young thick"
_JOBS = """doctor baker fisherman painter judge gardener postman shepherd singer watchmaker cook carpenter engineer
builder writer guide cobbler blacksmith chemist lawyer teacher"""
_RELATIVES = """my_mother my_father my_sister my_brother my_aunt my_uncle my_neighbour my_cousin my_grandmother
my_grandfather my_nephew my_daughter"""
_VERBS = "sings sleeps works travels dances laughs weeps waits cooks draws dreams swims runs reads walks talks thinks"
_ADVERBS = "slowly always never today tomorrow often quietly here there happily quickly sometimes well badly alone"
_WEATHER = "cold warm windy sunny foggy rainy thundery"
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_MONTHS = "January February March April May June July August September October November December"
_COUNTS = "two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty thirty"

BOOK = PromptBook(
    language="en",
    words={
        "name": _NAMES,
        "town": _TOWNS,
        "place": _PLACES,
        "animal": _ANIMALS,
        "thing": _THINGS,
        "food": _FOODS,
        "colour": _COLOURS,
        "quality": _QUALITIES,
        "job": _JOBS,
        "relative": _RELATIVES,
        "verb": _VERBS,
        "adverb": _ADVERBS,
        "weather": _WEATHER,
        "day": _DAYS,
        "month": _MONTHS,
        "count": _COUNTS,
    },
    train_words={
        "name": "Agnes Cuthbert Eleanor Philip Shirley Gilbert",
        "thing": "cradle barrel brick notebook",
        "animal": "camel toad falcon moth",
    },
    test_words={
        "name": "Mabel Roderick Josephine Arthur Thelma",
        "thing": "candle hammer drawer fan",
        "animal": "otter sparrow ox beetle",
    },
    train_frames=(
        "{name} {verb} {adverb}.",
        "The {job} has lived in {town} for {count} years.",
        "I saw a {quality} {animal} near {place}.",
        "{name} buys {food} and {food}.",
        "The {colour} {thing} belongs to {relative}.",
        "It is {count} o'clock, and {name} {verb} {adverb}.",
        "This {thing} costs {number} pounds.",
        "On {day} we leave for {town}.",
        "In {month} it is {weather} in {town}.",
        "How much is the {colour} {thing}?",
        "{relative} eats {food} every {day}.",
        "The {animal} and the {animal} cross {place}.",
        "Would you like more {food}?",
        "She was born in {month} of {year}.",
        "{name} and {name} are looking for a {quality} {thing}.",
        "The {job} lost a {thing} on the train to {town}.",
        "What a {quality} {animal}!",
        "My {thing} is under the {thing}.",
        "Tomorrow {relative} will visit the {job}.",
        "Please take the {colour} {thing}.",
        "Does {name} like the {thing}?",
        "Behind {place} a {animal} {verb}.",
        "There are {count} bottles and {count} glasses.",
        "{count}, {count}, {count}, {count}.",
        "A good {job} never {verb} {adverb}.",
        "Each {day} the {job} opens at {hour}.",
        "{name} shows {place} to {relative}.",
        "It takes {number} days to paint {place}.",
        "I would rather see {town} than {town}, said {name}.",
        "When it is {weather}, {relative} {verb} {adverb}.",
        "The {quality} {animal} is called {name}.",
    ),
    dev_frames=(
        "Where did {relative} put the {thing}?",
        "{name} found an old {animal} in {town}.",
        "The road to {town} goes past {place}.",
        "Last {day} in {month} was {weather}.",
        "They sell {food} for {number} pence.",
        "Our neighbour is a {quality} {job}.",
        "Look, the {thing} is {colour}!",
        "Since {year}, {name} {verb} less.",
    ),
    test_frames=(
        "Why do you think {name} {verb} {adverb}?",
        "Long ago {place} was very {quality}.",
        "We need {food} for supper on {day}.",
        "The bus from {town} arrives in {number} minutes.",
        "{relative} tells the story of the {quality} {animal}.",
        "Give me {count} cherries and a {thing}.",
        "Since yesterday the {job} wants a {colour} {thing}.",
        "Between {town} and {town} it rains a lot in {month}.",
        "This winter {name} will sell the {thing} to a {job}.",
        "Nobody {verb} if it is {weather}.",
        "The old {thing} was worth {number} coins in {year}.",
        "Good morning, have you met my {animal}?",
    ),
)
